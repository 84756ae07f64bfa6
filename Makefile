# `make help` lists the targets. Any of these can be given after it, such as
# `make test PYTHON=python3.12 VENV=../env`.
VENV ?= .venv
# The first of these that is new enough makes the environment.
PYTHON ?= python3 python3.13 python3.12 python3.11
CONSTRAINTS ?= constraints.txt
JOBS ?= 2
ARGS ?=

BIN = $(VENV)/bin
SOURCES = slstm experiments third_party tests

# What makes a training run faster on a CPU, for the commands below and, by
# `make environment`, for a shell. Each is ignored where it means nothing.
#
# glibc gives big buffers back to the kernel at every free, and the page faults
# of taking them again cost a training run up to half of its speed. One arena,
# because those of further threads hold no more than 64 MB (it costs small
# networks some per cent, for two devices take turns at it); huge pages, where
# the kernel has them to give.
#
# XLA makes one kernel of element-wise operations that share their inputs, in
# place of one for each output. Two devices, each with half of the batch, keep
# two cores busy where it would use one.
MALLOC_MMAP_THRESHOLD_ ?= 17179869184
MALLOC_TRIM_THRESHOLD_ ?= 34359738368
MALLOC_TOP_PAD_ ?= 67108864
MALLOC_ARENA_MAX ?= 1
GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
XLA_FLAGS ?= --xla_backend_extra_options=xla_cpu_use_multi_output_fusion
JAX_NUM_CPU_DEVICES ?= 2
ENVIRONMENT = MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_ MALLOC_TOP_PAD_ \
  MALLOC_ARENA_MAX GLIBC_TUNABLES XLA_FLAGS JAX_NUM_CPU_DEVICES
export $(ENVIRONMENT)

.DEFAULT_GOAL := help
.PHONY: help demo demo-mcu test check format environment clean

help:
	@echo 'make demo    train, convert and evaluate; flags in ARGS="--flag=value"'
	@echo 'make demo-mcu'
	@echo '             hear words on an emulated microcontroller; flags in ARGS'
	@echo 'make test    run the tests; pytest arguments in ARGS'
	@echo 'make check   check formatting, imports, style and types'
	@echo 'make format  rewrite the code as check wants it'
	@echo 'make environment'
	@echo '             print the settings for speed, to give to a shell'
	@echo 'make clean   remove caches, build products and .venv'

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.pipeline --workdir=runs/demo $(ARGS)

demo-mcu: $(VENV)/.installed
	$(BIN)/python -m experiments.spot_mcu $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(ARGS)

check: $(VENV)/.installed
	$(BIN)/yapf --diff --parallel --recursive $(SOURCES)
	$(BIN)/isort --check --diff $(SOURCES)
	$(BIN)/flake8 $(SOURCES)
	$(BIN)/mypy $(SOURCES)

format: $(VENV)/.installed
	$(BIN)/isort $(SOURCES)
	$(BIN)/yapf --in-place --parallel --recursive $(SOURCES)

environment:
	@printf "export %s='%s'\n" $(foreach name,$(ENVIRONMENT),$(name) "$($(name))")

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Installs the project with all that tests and checks need. Wheels only (but for
# promise, which has none), so that a missing one fails at once.
$(VENV)/.installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	@for python in $(PYTHON); do \
	  if $$python -c 'import ensurepip, sys, venv; \
	      sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Installing into $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo 'None of "$(PYTHON)" is a Python >= 3.11 with its venv module.' \
	  'Install one, or name it: make PYTHON=...' >&2; \
	exit 1
	@$(BIN)/python -m pip install -q --only-binary :all: --no-binary promise \
	  $(addprefix -c ,$(CONSTRAINTS)) -e '.[test]' || { \
	  echo "The installation failed; pip gave the reason above. The versions" \
	    "in constraints.txt were tested with Python 3.11 and this is" \
	    "$$($(BIN)/python --version). If one has no wheel here, try" \
	    "another Python (make clean, then make PYTHON=python3.11) or the" \
	    "newest versions that setup.cfg allows (make CONSTRAINTS=)." >&2; \
	  exit 1; }
	@touch $@
