"""python ablations/run.py NAME: repeat one table or figure of the paper, ours beside the paper's.

python ablations/run.py --list                 list the ablations
python ablations/run.py alpha                  laptop profile, built-in corpus
python ablations/run.py alpha --profile paper --store s3://bucket/store --workers 8
python ablations/run.py alpha --seeds 3        mean and standard deviation
python ablations/run.py report alpha           table and plot again, from MLflow alone
python ablations/run.py path/to/mine.py        your own ablation
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Files here must not shadow packages of the same name, such as datasets; gte_ray is beside this folder.
sys.path[0] = str(FOLDER.parent)

from gte_ray.ablation.command import main  # noqa: E402
from gte_ray.cli.console import run_command  # noqa: E402

if __name__ == "__main__":
    run_command(lambda: main(FOLDER))
