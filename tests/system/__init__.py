"""Tests that need root: real mounts, real devices, real runs."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.crash")
