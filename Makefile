# demo: set-up, training and evaluation on embedded data.  test: set-up and tests.  Both work on a fresh machine.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-for-development
DEMO := saved/demo
DEMO_CONFIG := configs/digits/config_digits_ir40_bs-experts.json
# A third of the recipe's 60 epochs, the steps of its schedule moved accordingly: nearly all of the time goes into them.
DEMO_EPOCHS := 20
DEMO_SCHEDULE := --epochs $(DEMO_EPOCHS) --warmup 2 --step1 15 --step2 18

.PHONY: demo test lint bench bench-gpu clean

# On images this small threads only wait for one another; one alone is as fast, and steady on a busy machine.
demo: export OMP_NUM_THREADS = 1
demo: $(INSTALLED)
	$(RUN) train.py -c $(DEMO_CONFIG) $(DEMO_SCHEDULE) --save_dir $(DEMO) --name digits
	$(RUN) test_all_cifar.py -r "$$(ls -d $(DEMO)/models/digits/*/ | sort | tail -n 1)checkpoint-epoch$(DEMO_EPOCHS).pth"

# Networks in tests are too small for threads; two files are tested side by side instead, in tests/conftest.py's order.
# Hundreds of processes are started: they read the bytecode of those before them, also where the system forbids to write it.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: $(INSTALLED_DEV)
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED_DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(INSTALLED)
	$(RUN) -m benchmarks.speed --out saved/bench/speed.json
	$(RUN) -m benchmarks.decode_throughput --out saved/bench/decode_throughput.json
	$(RUN) -m benchmarks.reduced_decoding --threads 1 --out saved/bench/reduced_decoding.json

bench-gpu: $(INSTALLED)
	$(RUN) -m benchmarks.gpu --out saved/bench/gpu.json
	$(RUN) -m benchmarks.experts_together --out saved/bench/experts_together.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis saved/demo saved/bench
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: set-up runs once, and again when the requirements change.
$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "error: Python 3.11 or 3.12 is needed, this is %d.%d; name one: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.txt | $(RUN)
	$(RUN) -m pip install --quiet -r requirements.txt
	touch $@

$(INSTALLED_DEV): tests/requirements.txt $(INSTALLED)
	$(RUN) -m pip install --quiet -r tests/requirements.txt
	touch $@
