import numpy as np
import pytest
import torch

from archspec.kernels.arrays import as_array


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_an_array_is_the_memory_of_its_tensor(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).to(dtype).view(3, 4)
    array = as_array(tensor)
    assert np.array_equal(array, tensor.tolist())
    array[1, 2] = 77
    assert tensor[1, 2] == 77


def test_an_array_keeps_the_memory_alive() -> None:
    array = as_array(torch.full((1000,), 3.0))
    torch.full((1000,), 4.0)
    assert (array == 3).all()


def test_empty_tensors_have_their_shape() -> None:
    assert as_array(torch.empty(0, 4)).shape == (0, 4)


def test_the_memory_can_be_resized_afterwards() -> None:
    tensor = torch.ones(10)
    as_array(tensor)
    tensor.untyped_storage().resize_(0)
    tensor.untyped_storage().resize_(40)
