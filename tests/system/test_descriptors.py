"""Descriptors: how many a process may have, and how many are left."""

from __future__ import annotations

import os
import resource
import socket
import sys
import typing as t
from types import SimpleNamespace

import pytest

from flask_push._system import descriptors


def test_the_soft_limit_of_descriptors_is_raised() -> None:
    child = os.fork()
    if child == 0:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        descriptors.raise_limit()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        os._exit(0 if raised else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_limit_is_raised_as_far_as_macos_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soft = [256]

    def raise_to(_: int, limits: tuple[int, int]) -> None:
        if limits[0] > 10_240 or limits[0] == resource.RLIM_INFINITY:
            raise ValueError("current limit exceeds maximum limit")
        soft[0] = limits[0]

    mac = SimpleNamespace(
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        RLIM_INFINITY=resource.RLIM_INFINITY,
        getrlimit=lambda _: (soft[0], resource.RLIM_INFINITY),
        setrlimit=raise_to,
    )
    monkeypatch.setattr(descriptors, "resource", mac)
    descriptors.raise_limit()
    assert descriptors.limit() == soft[0] == 10_240
    descriptors.raise_limit()
    assert soft[0] == 10_240
    assert descriptors.limit_of(0) == sys.maxsize


def test_a_descriptor_is_scarce_if_its_number_is_in_the_reserve() -> None:
    most = descriptors.limit()
    first = most - descriptors.reserve(most)
    assert descriptors.is_scarce(first)
    assert not descriptors.is_scarce(first - 1)
    assert not descriptors.is_scarce(first, part=0.5)
    assert f"only {most} file descriptors" in descriptors.why_scarce()


def test_streams_are_counted_where_the_number_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    most = descriptors.limit()
    first = most - descriptors.reserve(most)
    assert not descriptors.is_scarce(10**6, polled=first - 1)
    assert descriptors.is_scarce(4, polled=first)
    descriptors.raise_limit()
    assert descriptors.limit_of(0) == most
    assert descriptors.why_scarce() == "this system polls at most 512 sockets at once"


def test_the_limit_of_another_process_is_that_of_its_own() -> None:
    assert descriptors.limit_of(os.getpid()) == descriptors.limit()


def test_a_duplicate_has_a_high_number_and_is_not_inherited() -> None:
    with socket.socket() as sock:
        fd = descriptors.duplicate(sock.fileno())
        assert fd >= 1024 and not os.get_inheritable(fd)
        os.close(fd)


def test_a_directory_is_opened_and_a_file_is_not(tmp_path: t.Any) -> None:
    os.close(descriptors.open_directory(tmp_path))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError):
        descriptors.open_directory(file)
