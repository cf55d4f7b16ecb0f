import cv2
import torch
from threadpoolctl import threadpool_info

from tasks.engines.load import one_thread_each


def test_a_worker_computes_on_one_thread() -> None:
    one_thread_each()
    assert cv2.getNumThreads() == torch.get_num_threads() == 1
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
