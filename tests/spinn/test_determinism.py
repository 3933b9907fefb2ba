"""spinn.determinism: switches, generators, the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import threadpoolctl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn import determinism
from spinn.errors import InputError
from spinn.storage import digest_file, digest_of


@pytest.fixture
def restored():
    """Leave torch as it was found."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.usefixtures("restored")
def test_use_makes_kernels_deterministic_and_full_precision():
    """After `use`, kernels are deterministic, products keep full precision, cuBLAS has its fixed workspace."""
    device = determinism.use("cpu", threads=1)
    assert device == torch.device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_threads() == 1
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


@pytest.mark.usefixtures("restored")
def test_auto_takes_cuda_where_there_is_one(monkeypatch):
    """'auto' is CUDA where torch sees one, else the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert determinism.use("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert determinism.use("auto").type == "cuda"


def test_cuda_where_there_is_none_is_refused(monkeypatch):
    """Asking for a device that is not there is one clear line."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device = 'cuda': torch sees 0 CUDA devices here; give --device cpu"):
        determinism.use("cuda")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", ""])
def test_an_unknown_device_is_refused(name):
    """Names torch might understand otherwise are refused, with the ones that are known."""
    with pytest.raises(InputError, match="one of auto, cpu, cuda"):
        determinism.use(name)


def test_no_threads_is_refused():
    """A thread count below 1 is refused."""
    with pytest.raises(InputError, match="threads = 0: at least 1"):
        determinism.use("cpu", threads=0)


@settings(deadline=None, max_examples=20)
@given(st.tuples(st.integers(0, 50), st.integers(0, 5)), st.tuples(st.integers(0, 50), st.integers(0, 5)))
def test_a_generator_is_a_function_of_its_key(one, other):
    """Equal keys draw equal numbers, different keys different ones (1/11 and 11/1 among them)."""
    first = torch.rand(4, generator=determinism.generator(*one))
    again = torch.rand(4, generator=determinism.generator(*one))
    second = torch.rand(4, generator=determinism.generator(*other))
    assert torch.equal(first, again)
    assert torch.equal(first, second) == (one == other)


def test_environment_names_this_machine():
    """The environment states versions, cores, memory and threads that are really there."""
    found = determinism.environment(torch.device("cpu"))
    assert set(found.packages) == {"torch", "numpy", "pandas", "scipy", "safetensors"}
    assert found.packages["torch"] == torch.__version__
    assert found.device == "cpu"
    assert found.cores >= 1
    assert found.memory_bytes > 2**20
    assert found.threads == torch.get_num_threads()
    assert found.processor
    root = Path(determinism.__file__).parent
    assert found.code == digest_of({p.relative_to(root).as_posix(): digest_file(p) for p in root.rglob("*.py")})


def test_environment_says_which_kernels_were_chosen():
    """Those that OpenBLAS and torch were told to take, in a process of its own; and what MKL was told."""
    if not any(found.get("architecture") for found in threadpoolctl.threadpool_info()):
        pytest.skip("no OpenBLAS here: numpy has another library")
    told = {"OPENBLAS_CORETYPE": "Nehalem", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
    code = "import torch; from spinn import determinism; print(determinism.environment(torch.device('cpu')).kernels)"
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | told, capture_output=True, check=True, text=True
    )
    assert said.stdout.strip() == "openblas Nehalem, ATen DEFAULT, MKL_CBWR=COMPATIBLE"


@pytest.mark.usefixtures("restored")
def test_environment_says_whether_tf32_is_on(monkeypatch):
    """Off after `use`; on where torch's precision was lowered afterwards, or NVIDIA's override is set."""
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    device = determinism.use("cpu")
    assert not determinism.environment(device).tf32
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert determinism.environment(device).tf32
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    torch.set_float32_matmul_precision("high")
    try:
        assert determinism.environment(device).tf32
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        assert not determinism.environment(device).tf32
    finally:
        torch.set_float32_matmul_precision("highest")


def test_processor_falls_back_where_cpuinfo_is_silent(tmp_path, monkeypatch):
    """Without a model name in /proc/cpuinfo the record carries the platform's word, never an empty string."""
    silent = tmp_path / "cpuinfo"
    silent.write_text("processor : 0\nmodel name :\n")
    monkeypatch.setattr(determinism, "_CPUINFO", silent)
    assert determinism.environment(torch.device("cpu")).processor
