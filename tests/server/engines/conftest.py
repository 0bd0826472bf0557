"""Tests of tensors find torch where `scripts/test_vllm.sh` says that it is: the development environment has none."""

import os
import sys

# At the end of the path: everything else comes from the environment that the tests run in.
sys.path += filter(None, [os.environ.get("TEST_TORCH_IN")])
