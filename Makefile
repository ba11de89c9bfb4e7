# `make run` and `make test` do everything, set-up included: .venv is made when it is missing and brought up to date when
# settings.ini, setup.py or constraints.txt have changed. The same steps as plain pip lines stand in the README.
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp
FITS  := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
export TF_CPP_MIN_LOG_LEVEL ?= 3

help:
	@echo "make run      the main experiments on the embedded sample, ending with the leaderboard"
	@echo "make run-all  every experiment on the embedded sample"
	@echo "make test     every contract, the library's notebooks, one experiment and the results"
	@echo "make test-all the same with every notebook"
	@echo "make lab      JupyterLab in the project's environment"
	@echo "make bench    the speed claims, measured"
	@echo "make readme   README.md from nbs/index.ipynb, and the sidebar of the site"
	@echo "make docs     the documentation site in _docs/ (needs Quarto)"
	@echo "make clean    remove what can be made again, except .venv/ and _runs/"

run: $(STAMP)
	$(BIN)/skin_nb_run --only 30,30a,33,90

run-all: $(STAMP)
	$(BIN)/skin_nb_run

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal tests

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "" tests

lab: $(STAMP)
	$(BIN)/jupyter lab nbs

bench: $(STAMP)
	$(BIN)/python tests/bench.py

readme: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/readme.py

docs: $(STAMP)
	@command -v quarto >/dev/null || { echo "make docs needs Quarto 1.7 (https://quarto.org/docs/get-started); without it, read the notebooks: make lab" >&2; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_docs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/readme.py  # nbdev_docs wrote its own version

clean:
	rm -rf _docs _proc build dist *.egg-info .pytest_cache nbs/.ipynb_checkpoints
	find skin_nb tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f $(STAMP)

$(STAMP): settings.ini setup.py constraints.txt
	@$(BIN)/python -c '$(FITS)' 2>/dev/null || { \
	  for p in python3.13 python3.12 python3.11 python3; do $$p -c '$(FITS)' 2>/dev/null && break; p=; done; \
	  if [ -z "$$p" ]; then echo "No Python 3.11, 3.12 or 3.13 with venv and pip was found. Install one (on Debian and Ubuntu: python3 and python3-venv)." >&2; exit 1; fi; \
	  echo "Making $(VENV) with $$p"; $$p -m venv --clear $(VENV); }
	@echo "Installing into $(VENV): a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[openvino]' || echo "Going on without OpenVINO: Keras computes frozen networks; some tests will skip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export]' || echo "Going on without ONNX and LiteRT: skin_nb_export says that it can't write them; some tests will skip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[challenge]' || echo "Going on without the challenge's own scorer, which needs a C compiler; one test will skip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,browser]' || echo "Going on without Gradio and Playwright: skin_nb_demo says that it needs Gradio; its tests will skip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dask]' || echo "Going on without Dask: notebooks run on this machine; a test of clusters will skip."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mlflow]' || echo "Going on without MLflow: runs stay in their folders; a test of it will skip."
	@touch $@

.PHONY: help run run-all test test-all lab bench readme docs clean
