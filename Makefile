# The commands of the README, for a machine that has Python 3.11 and make and nothing else.
#
#   make paper-artifacts [EXPERIMENT=quick] [DATA=simulator|nasa|PATH] [DEVICE=auto]
#   make verify
#   make reproduce [TIER=smoke|minutes|ablation|seed|full]

EXPERIMENT ?= quick
DATA ?= simulator
DEVICE ?= auto
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)

NAME := $(EXPERIMENT)-$(shell basename "$(DATA)" | sed 's/\.[^.]*$$//')
RUNS ?= build/runs/$(NAME)
override RUNS := $(patsubst %/,%,$(RUNS))# as a shell completes it
PAPER := build/paper/$(notdir $(RUNS))
BENCHMARKS := $(wildcard build/bench/history.jsonl)
MUTANTS := $(firstword $(wildcard build/mutants.json) paper/reference/mutants.json)
REFERENCE := $(filter paper/reference/%,$(RUNS))# its runs are there already
# Runs of the same data by the weight of the physics; those of the reference are of the data of `full`
ABLATION ?= $(if $(filter paper/reference/full,$(RUNS)),paper/reference/physics-ablation)
FILE := paper/experiments/$(EXPERIMENT).toml
BIN := .venv/bin
# Where BIN is given, the commands are there: make reproduce BIN=/path/of/an/environment/bin
ENVIRONMENT := $(if $(filter .venv/bin,$(BIN)),.venv/installed)
TOX := .venv-tox/bin/tox

.DEFAULT_GOAL := help
.PHONY: help environment paper-artifacts reproduce verify verify-long kills fuzz mutation mutants bench soak scaling campaigns clean

help:
	@echo "make paper-artifacts  check the schedule, run what is missing, audit it, and write tables, figures, numbers, paper"
	@echo "                      EXPERIMENT=quick  a file in paper/experiments without its .toml"
	@echo "                      DATA=simulator    or nasa, or the path of a mill.mat or a tidy CSV file"
	@echo "                      DEVICE=auto       or cpu, or cuda"
	@echo "                      RUNS=$(RUNS)  where the records go; name another folder for another file of that name"
	@echo "                      ABLATION=PATH     runs of the same data by settings, to be printed beside, as of physics-ablation"
	@echo "make reproduce        run the fixed seeds again, and compare each claim and each table cell with paper/reference"
	@echo "                      TIER=minutes      minutes on two cores; or smoke, one; or ablation, seed or full: of the paper"
	@echo "make verify           run the whole verification suite (tox)"
	@echo "make verify-long      the property tests alone, with 500 and more new examples each"
	@echo "make kills            kill a run fifty times, and its workers ten, at random moments; it goes on, and no digest changes"
	@echo "make fuzz             read more than 100,000 damaged files: a result or one clear error, never a crash; and totals"
	@echo "make mutation         change arithmetic, pruner and mask checks in some 5,000 ways; a test has to notice each"
	@echo "make mutants          plant every named fault and keep which check catches it, for the paper (minutes)"
	@echo "make bench            how fast training, inference, the commands and the live check are, beside the machine's limit"
	@echo "make soak             a thousand tiny runs in one folder: does each cost as much as one of few, and is memory flat (minutes)"
	@echo "make scaling          how the cost grows with runs and parameters, for docs/scaling.md (minutes)"
	@echo "make campaigns        20 simulated campaigns: in how many do the intervals of the laws' coefficients cover the truth"
	@echo "make environment      only the environment, .venv, with the commands in it; the others make it where it is missing"
	@echo "make clean            remove build/ (runs and paper artifacts), mutants/ and the environments"

environment: $(ENVIRONMENT)

paper-artifacts: $(ENVIRONMENT)
	$(if $(REFERENCE),,$(BIN)/spinn schedule check $(FILE))
	$(if $(REFERENCE),,$(if $(filter nasa,$(DATA)),$(BIN)/spinn data fetch nasa))
	$(if $(REFERENCE),,$(BIN)/spinn run $(FILE) --data "$(DATA)" --out "$(RUNS)" --device $(DEVICE))
	$(BIN)/spinn-verify records "$(RUNS)" --replay
	$(BIN)/spinn-artifacts build "$(RUNS)" --out "$(PAPER)" $(addprefix --benchmarks ,$(BENCHMARKS)) $(addprefix --mutants ,$(MUTANTS)) $(addprefix --ablation ,$(ABLATION))
	@echo "open $(PAPER)/report.html$(if $(shell command -v latexmk), and $(PAPER)/paper.pdf)"

# What each tier runs, on which data, and what it is compared with; one seed is compared with that seed of all.
TIER ?= minutes
REFERENCE_OF = $(patsubst ablation,physics-ablation,$(patsubst seed,full,$(TIER)))
# Which kernels OpenBLAS takes for a processor changes last digits: those of the references run on any with AVX2.
ifneq ($(shell grep -sw -m1 avx2 /proc/cpuinfo),)
reproduce: export OPENBLAS_CORETYPE ?= Haswell
endif
TIERS := smoke minutes ablation seed full
MEASURED := $(if $(filter command line environment,$(origin DATA)),$(DATA),../shared/data/mill_decimated.mat)
reproduce: RUN_smoke = paper/experiments/smoke.toml --data simulator
reproduce: RUN_minutes = paper/experiments/minutes.toml --data simulator
reproduce: RUN_ablation = paper/experiments/physics-ablation.toml --data "$(MEASURED)"
reproduce: RUN_seed = paper/experiments/paper.toml --data "$(MEASURED)" --seed 0
reproduce: RUN_full = paper/experiments/paper.toml --data "$(MEASURED)"
reproduce: $(ENVIRONMENT)
	$(if $(filter $(TIER),$(TIERS)),,$(error TIER = $(TIER): one of $(TIERS)))
	$(BIN)/spinn run $(RUN_$(TIER)) --out build/runs/reproduce-$(TIER) --device $(DEVICE)
	@status=0; \
	$(BIN)/spinn-artifacts reproduce build/runs/reproduce-$(TIER) \
		--reference paper/reference/$(REFERENCE_OF) --out build/reproduce/$(TIER) || status=$$?; \
	$(BIN)/spinn-artifacts build build/runs/reproduce-$(TIER) --out build/paper/reproduce-$(TIER) \
		--reference paper/reference/$(REFERENCE_OF) > /dev/null || status=1; \
	echo "open build/paper/reproduce-$(TIER)/report.html"; exit $$status

verify: .venv-tox/installed
	$(TOX) run

verify-long: .venv-tox/installed
	HYPOTHESIS_PROFILE=long $(TOX) run -e tests -- -m property

kills: .venv-tox/installed
	KILLS=50 $(TOX) run -e tests -- tests/e2e/test_killed.py tests/e2e/test_engine.py

# 35 kinds of files, so many damaged ones of each.
fuzz: .venv-tox/installed
	FUZZ=4000 HYPOTHESIS_PROFILE=long $(TOX) run -e tests -- tests/e2e/test_fuzz.py

mutation: .venv-tox/installed
	$(TOX) run -e mutation

# A fault that is missed is printed as such: status 1 keeps the file, anything else leaves the one from before.
mutants: $(ENVIRONMENT)
	@mkdir -p build
	@$(BIN)/spinn-verify mutants --json > build/mutants.json.part; status=$$?; \
	if [ $$status -le 1 ]; then mv build/mutants.json.part build/mutants.json; else rm -f build/mutants.json.part; fi; \
	exit $$status

# Every benchmark is run, whatever the ones before it missed; the status says whether any missed a target.
bench: .venv/benchmarks-installed
	@status=0; \
	for part in "spinn bench train" "spinn bench inference" "python benchmarks/commands.py" "python benchmarks/watch.py"; \
	do $(BIN)/$$part || status=1; done; exit $$status

soak: .venv/installed
	$(BIN)/python benchmarks/soak.py

scaling: .venv/installed
	$(BIN)/python benchmarks/scaling.py

# Two at a time on one thread each: networks as small as these gain nothing from a second one.
SIMULATED := $(shell seq 1 20)
campaigns: $(ENVIRONMENT)
	$(MAKE) --jobs 2 $(addprefix campaign-,$(SIMULATED))
	$(BIN)/spinn-artifacts campaigns $(addprefix build/runs/campaigns/,$(SIMULATED)) --out build/paper/campaigns --at-least 17

campaign-%: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(BIN)/spinn run paper/experiments/campaigns.toml --simulator-seed $* --out build/runs/campaigns/$*
	OMP_NUM_THREADS=1 $(BIN)/spinn-verify records build/runs/campaigns/$* --replay

.venv/installed: pyproject.toml constraints.txt
	@$(call python-is-recent)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/benchmarks-installed: .venv/installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[export]' torch-pruning
	touch $@

.venv-tox/installed: constraints.txt
	@$(call python-is-recent)
	$(PYTHON) -m venv .venv-tox
	.venv-tox/bin/python -m pip install --quiet --constraint constraints.txt tox tox-ignore-env-name-mismatch
	touch $@

python-is-recent = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' 2>/dev/null \
	|| { echo "PYTHON = $(PYTHON): Python 3.11 or later is needed; name one with make PYTHON=…" >&2; exit 1; }

clean:
	rm -rf build mutants .tox .venv .venv-tox
