# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer (Debian: python3 python3-venv make).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
GPU_RESULTS := build/benchmark-gpu

.PHONY: install test test-long test-ray browser-test pacs-test container-test demo docs results benchmark benchmark-gpu clean

install: $(VENV)/installed

# Python compiles what is imported when it is; of the packages' 20,000 files that is a third.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

# The pages are looked at in a browser where there is one (Debian: apt install chromium chromium-driver).
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long and not container"

# Minutes of training on the shared data: the orderings that the results page claims.
test-long: install
	$(BIN)/python -m pytest -m long

# Studies on two Ray machines of which one is killed: some minutes. It is part of test-long, too.
test-ray: install
	$(BIN)/python -m pytest tests/pipelines/test_batch_ray.py

# Reports in a real browser. A part of `make test` where that is installed.
browser-test: install
	@command -v chromium chromedriver >/dev/null || { echo "no browser: apt install chromium chromium-driver" >&2; exit 1; }
	$(BIN)/python -m pytest tests/pages/test_browser.py

# The DICOM node beside a real PACS, Orthanc. A part of `make test` where that is installed.
pacs-test: install
	@command -v Orthanc >/dev/null || { echo "no Orthanc: apt install orthanc orthanc-dicomweb dicom3tools" >&2; exit 1; }
	$(BIN)/python -m pytest tests/pipelines/test_pacs.py

# Builds the container and runs it as a hospital would, in about a quarter of an hour; see docs/containers.md.
container-test: install
	@for tool in buildah debootstrap podman runc; do command -v $$tool > /dev/null || \
		{ echo "make container-test needs $$tool. On Debian: apt install buildah debootstrap podman runc"; exit 2; }; done
	@test "$$(id -u)" = 0 || { echo "make container-test needs to be root."; exit 2; }
	$(BIN)/python -m pytest -m container

# The main job without any download, in about four minutes on two CPU cores. Starts afresh each time.
demo: install
	rm -rf $(DEMO)
	mkdir $(DEMO)
	$(BIN)/mri-n2n phantom $(DEMO)/heads --subjects 12
	$(BIN)/mri-n2n prepare ixi $(DEMO)/heads $(DEMO)/data --train 10 --validation 2 --slices 12:59
	cd $(DEMO) && ../$(BIN)/mri-n2n train data --acceleration 10 --steps 500 --batch-size 4 --ramp-down 0.3 --run-name demo
	cd $(DEMO) && ../$(BIN)/mri-n2n evaluate demo data
	cd $(DEMO) && ../$(BIN)/mri-n2n reconstruct demo heads/phantom-012.nii.gz reconstructed.nii.gz --simulate
	@echo
	@echo "The table above: PSNR of each reconstruction of two heads that the network never saw; it never saw a clean image."
	@echo "Pictures:    $(DEMO)/runs/demo/evaluation/examples.png and scores.png, $(DEMO)/runs/demo/examples/"
	@echo "Volume:      $(DEMO)/reconstructed.nii.gz"
	@echo "MLflow run:  cd $(DEMO) && ../$(BIN)/mri-n2n runs ui"
	@echo
	@echo "Next, a page of it to look at and to send:"
	@echo "  cd $(DEMO)"
	@echo "  ../$(BIN)/mri-n2n report demo"
	@echo "And, beside it, what clean images would have given:"
	@echo "  ../$(BIN)/mri-n2n train data --acceleration 10 --steps 500 --batch-size 4 --ramp-down 0.3 --targets clean --run-name clean"
	@echo "  ../$(BIN)/mri-n2n evaluate clean data"
	@echo "  ../$(BIN)/mri-n2n runs compare demo clean"

# The documentation as a site: build/site/index.html, to be read without a network. A part of `make test`, too.
docs: install
	$(BIN)/python -m mkdocs build --strict

# The tables of docs/results/, written anew from the numbers stored beside them. `make test` looks whether they are.
results: install
	$(BIN)/python -m benchmarks.pages

# How fast the machine trains and reconstructs, and how fast it does by others' means (some minutes).
benchmark: install
	$(BIN)/mri-n2n benchmark
	$(BIN)/python -m benchmarks.peers

# The whole table of a GPU: plain, bf16, compiled, beside others, and how cost grows. The numbers go to GPU_RESULTS.
benchmark-gpu: install
	mkdir -p $(GPU_RESULTS)
	$(BIN)/mri-n2n benchmark --device cuda --output $(GPU_RESULTS)/performance-gpu.json
	$(BIN)/mri-n2n benchmark --device cuda --precision bf16 --output $(GPU_RESULTS)/performance-gpu-bf16.json
	$(BIN)/mri-n2n benchmark --device cuda --precision bf16 --compile --output $(GPU_RESULTS)/performance-gpu-bf16-compiled.json
	$(BIN)/python -m benchmarks.peers --device cuda --output $(GPU_RESULTS)/peers-gpu.json
	$(BIN)/python -m benchmarks.peers --device cuda --precision bf16 --output $(GPU_RESULTS)/peers-gpu-bf16.json
	$(BIN)/python -m benchmarks.growth --device cuda --output $(GPU_RESULTS)/growth-gpu.json

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
