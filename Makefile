# Two commands are enough to begin: `make pretrain` and `make test`. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A run is many processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: pretrain finetune test test-fast check format chaos bench clean

pretrain: $(VENV)/.installed
	$(BIN)/python -m gte_ray.pretrain --name pretrained

# Pre-training alone, fine-tuning alone, and both (Table 9).
finetune: pretrain
	$(BIN)/python -m gte_ray.finetune --model scratch --name only-finetuned
	$(BIN)/python -m gte_ray.finetune --model runs/pretrained/model --name finetuned
	$(BIN)/python -m gte_ray.show runs/pretrained runs/only-finetuned runs/finetuned

# Two processes, whatever the cores: each has a Ray of its own, and one of them a cluster of two nodes.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(SHARED)

# What a minute and a half can tell: all that needs neither Ray nor another process.
test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest $(SHARED) -m 'not processes'

check: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# A run that is killed 30 times, and whether it comes to the same.
chaos: $(VENV)/.installed
	$(BIN)/python -m tests.cluster.chaos

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

$(VENV)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
# On all cores, where pip takes one: half of the installation's time otherwise. Some packages carry files of other Pythons.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
