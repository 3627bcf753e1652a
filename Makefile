# `make` lists the targets. Everything runs in .venv, which the first target that needs it sets up.
PYTHON ?= python3
# uv, where there is one, sets up faster than pip; `make UV= ...` does without.
UV ?= $(shell command -v uv 2>/dev/null)
VENV = .venv/bin/python
DATA = $(VENV) -m aigc_keras.datasets

.PHONY: help lab test course chapter html assignments check grade data checkpoints bench lint lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

lab: .venv/.ready .venv/.data ## set up what is missing and open JupyterLab on the chapters (LAB_ARGS=...)
	$(VENV) notebooks/lab.py $(LAB_ARGS)

test: .venv/.ready .venv/.data ## set up what is missing and run the tests and every chapter, in up to half an hour
	AIGC_PROFILE=fast $(VENV) -m pytest --nbval --numprocesses=2 --dist=loadfile

course: .venv/.ready .venv/.data ## train every chapter again and rebuild its notebook
	$(VENV) notebooks/build.py --profile lesson

chapter: $(if $(N),.venv/.ready .venv/.data) ## the same for one chapter: make chapter N=01
	@test -n "$(N)" || { echo "Which chapter? For example: make chapter N=01" >&2; exit 2; }
	$(VENV) notebooks/build.py --profile lesson $(N)

html: .venv/.ready ## write each chapter as a page for a browser, in the folder html
	$(VENV) notebooks/pages.py html

assignments: .venv/.ready ## build the students' versions of the problem sets
	$(VENV) notebooks/classroom.py assignments

check: $(if $(EX),.venv/.ready .venv/.data) ## what the visible tests say of your problem set: make check EX=02
	@test -n "$(EX)" || { echo "Which problem set? For example: make check EX=02" >&2; exit 2; }
	@$(VENV) notebooks/classroom.py check $(EX)

grade: $(if $(SUBMISSIONS),.venv/.ready .venv/.data) ## grade a class: make grade SUBMISSIONS=folder, with a folder for each student
	@test -n "$(SUBMISSIONS)" || { echo "Whose? For example: make grade SUBMISSIONS=class" >&2; exit 2; }
	@$(VENV) notebooks/classroom.py grade "$(SUBMISSIONS)" $(GRADE_ARGS)

data: .venv/.ready ## fetch and prepare the data sets
	$(DATA)

checkpoints: .venv/.ready .venv/.data ## train the course's checkpoints again, all or one: NAME=...
	$(VENV) -m aigc_keras.recipes $(NAME)

bench: .venv/.ready .venv/.data ## measure the speed of the models on this machine (BENCH_ARGS="--race 60")
	$(VENV) tests/benchmarks/bench.py $(BENCH_ARGS)

lint: .venv/.ready ## check style and formatting, and that no module imports from above
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	.venv/bin/lint-imports --no-cache

lock: ## pin the dependencies of pyproject.toml in requirements.lock again (needs uv)
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --all-extras pyproject.toml -o requirements.lock

# --no-deps: the lock is complete, and pip before 23.3 would look for newer versions of what it names with an extra.
# .ready is written last, and a set-up that finds no current .ready starts from an empty .venv:
# an interrupted one never counts.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo \
	  "The course needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is: `$(PYTHON) --version 2>&1`." \
	  "Name another one: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@set -ex; if [ -n "$(UV)" ]; then \
	  "$(UV)" venv --quiet --clear --python "`command -v $(PYTHON)`" .venv; \
	  "$(UV)" pip install --python $(VENV) --no-deps --require-hashes --compile-bytecode -r requirements.lock; \
	  "$(UV)" pip install --python $(VENV) --no-deps --no-build-isolation -e .; \
	  "$(UV)" pip check --python $(VENV); \
	else \
	  $(PYTHON) -m venv --clear .venv; \
	  $(VENV) -m pip install --no-deps --require-hashes -r requirements.lock; \
	  $(VENV) -m pip install --no-deps --no-build-isolation -e .; \
	  $(VENV) -m pip check; \
	fi
	@touch $@

# A mark, so that a second call starts at once; data that was deleted since is prepared again when it is loaded.
.venv/.data: .venv/.ready $(wildcard aigc_keras/datasets/*.py)
	$(DATA)
	@touch $@
