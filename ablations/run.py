"""python ablations/run.py NAME: one table or figure of the paper again, ours beside the paper's.

python ablations/run.py --list                 what there is
python ablations/run.py alpha                  laptop profile, built-in corpus
python ablations/run.py alpha --profile paper --store s3://bucket/store --workers 8
python ablations/run.py alpha --seeds 3        mean and standard deviation
python ablations/run.py report alpha           table and plot again, from MLflow alone
python ablations/run.py path/to/mine.py        an ablation of one's own
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# The names of the files here must not hide packages of the same name, and gte_ray is beside this folder.
sys.path[0] = str(FOLDER.parent)

from gte_ray.ablation.command import main  # noqa: E402
from gte_ray.cli.console import run_command  # noqa: E402

if __name__ == "__main__":
    run_command(lambda: main(FOLDER))
