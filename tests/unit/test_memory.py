"""Buffers are locked and stay out of core dumps, and the state of the swap is told, or called unknown."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fabnet_secure import memory
from fabnet_secure.memory import Swap, harden, lock, locked_zeros, swap_state

MIB = 1024 * 1024
may_lock = pytest.mark.skipif(not locked_zeros(4096)[1], reason="this account may lock no memory")


def locked_kib():
    """Return how much memory this process has locked, in KiB."""
    return int(re.search(r"VmLck:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def mapping_of(array):
    """Return the kernel's flags of the mapping that holds ``array`` (proc(5), smaps)."""
    address = array.ctypes.data
    for entry in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        bounds = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", entry)
        if bounds and int(bounds[1], 16) <= address < int(bounds[2], 16):
            return set(re.search(r"VmFlags:(.*)", entry)[1].split())
    raise AssertionError


def run(script, *arguments, **how):
    """Run Python code in a process of its own and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
        **how,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("shape", "dtype"), [((480, 640, 3), np.uint8), (7, np.float32), ((0, 4), np.uint8)])
def test_the_array_is_what_was_asked_for(shape, dtype):
    """Zeros of the shape and type asked for, writable and contiguous, on pages of their own."""
    array, _ = locked_zeros(shape, dtype)
    assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert array.dtype == dtype
    assert not array.any()
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.size == 0 or array.ctypes.data % 4096 == 0


@may_lock
def test_the_kernel_says_that_it_is_locked():
    """VmLck of this process grows by the array, and falls when the array goes."""
    before = locked_kib()
    array, locked = locked_zeros((MIB,))
    assert locked
    assert locked_kib() - before >= 1024
    view = array[:10]
    del array
    assert locked_kib() - before >= 1024
    del view
    assert locked_kib() == before


@may_lock
def test_the_pages_stay_out_of_dumps_and_children():
    """The mapping is marked: locked (lo), left out of core dumps (dd), wiped in a forked child (wf)."""
    array, _ = locked_zeros((MIB,))
    assert {"lo", "dd", "wf"} <= mapping_of(array)


def test_a_forked_child_sees_zeros():
    """What stands in the array does not reach a child process by fork."""
    script = (
        "import os\n"
        "from fabnet_secure.memory import locked_zeros\n"
        "array, _ = locked_zeros(100)\n"
        "array[:] = 7\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(int(array.max()))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), array.max())"
    )
    assert run(script) == "0 7"


@may_lock
def test_an_array_of_ones_own_can_be_locked():
    """lock() covers every page that the array touches, wherever it begins."""
    before = locked_kib()
    array = np.ones(3 * MIB, np.uint8)[5:]
    assert lock(array[::2])
    assert locked_kib() - before >= 3 * 1024
    assert array.all()


def test_room_can_be_made_first_and_locked_by_another_thread():
    """What is to be locked later is zero, its own, and large enough for huge pages where the kernel has them."""
    array = memory.unlocked_zeros((3 << 20,), np.uint8)
    assert not array.any()
    with ThreadPoolExecutor(1) as side:
        assert side.submit(memory.lock, array).result() == memory.lock(array)


def test_nothing_to_lock_is_not_locked():
    """An empty array has no pages."""
    assert not lock(np.zeros(0))


def test_a_refusal_of_the_kernel_is_told():
    """Beyond RLIMIT_MEMLOCK the array is still made, and said not to be locked."""
    script = (
        "import os, resource\n"
        "from fabnet_secure.memory import locked_zeros\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "array, locked = locked_zeros(1024 * 1024)\n"
        "print(locked, array.any(), locked_zeros(4096)[1])"
    )
    assert run(script) == "False False True"


def test_elsewhere_nothing_is_claimed(monkeypatch):
    """On a system that is not Linux the buffer is made, and nothing is said to be locked."""
    monkeypatch.setattr(memory, "_LINUX", False)
    array, locked = locked_zeros((4, 4))
    assert (array.shape, locked) == ((4, 4), False)


def test_core_dumps_are_off_in_a_hardened_process():
    """After harden() the process's and its children's RLIMIT_CORE is 0, and it is not dumpable; twice is no harm."""
    script = (
        "import resource, subprocess, sys\n"
        "from fabnet_secure.memory import harden\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))\n"
        "print(harden(), harden() == harden())\n"
        "look = 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))'\n"
        "print(subprocess.run([sys.executable, '-c', look], capture_output=True, text=True).stdout)"
    )
    assert run(script).splitlines()[:2] == ["Hardening(core_dumps_off=True, not_dumpable=True) True", "(0, 0)"]


def test_a_crash_leaves_no_core(tmp_path):
    """A hardened process that dies of SIGSEGV dumps nothing; waitpid's own flag says so."""
    script = (
        "import ctypes, os, resource, signal\n"
        "from fabnet_secure.memory import harden\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    harden()\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "_, status = os.waitpid(child, 0)\n"
        "print(os.WTERMSIG(status), os.WCOREDUMP(status))"
    )
    assert run(script) == "11 False"


def test_a_hardened_process_can_still_read_video(tmp_path):
    """An ordinary account's hardened process opens its own files through /dev/fd (the reader does)."""
    script = (
        "import os\n"
        "from fabnet_secure.memory import harden\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "assert harden().not_dumpable\n"
        "descriptor = os.open('/etc/passwd', os.O_RDONLY)\n"
        "print(len(open(f'/dev/fd/{descriptor}', 'rb').read(1)), open('/proc/self/maps').read(1) != '')"
    )
    assert run(script) == "1 True"


def test_hardening_that_fails_is_told(monkeypatch):
    """Where the limit cannot be set, the answer is what is, not what was wished."""

    def fail(*_):
        raise ValueError

    monkeypatch.setattr(memory.resource, "setrlimit", fail)
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(memory, "_LINUX", False)
    told = harden()
    assert (told.core_dumps_off, told.not_dumpable) == (False, False)


@pytest.fixture
def machine(tmp_path):
    """Build a made-up machine: its swap areas, block devices and mounts."""

    def build(areas=(), devices=None, mounts=()):
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/mapper").mkdir(parents=True, exist_ok=True)
        lines = ["Filename\t\t\t\tType\t\tSize\tUsed\tPriority", *(f"{area} partition 1024 0 -2" for area in areas)]
        (tmp_path / "proc/swaps").write_text("\n".join(lines) + "\n")
        rows = [f"36 35 98:0 / {point} rw - ext4 {source} rw" for point, source in mounts]
        (tmp_path / "proc/self/mountinfo").write_text("\n".join([*rows, "malformed"]))
        for name, facts in (devices or {}).items():
            folder = tmp_path / "sys/class/block" / name
            (folder / "slaves").mkdir(parents=True)
            for below in facts.get("on", ()):
                (folder / "slaves" / below).touch()
            if "uuid" in facts:
                (folder / "dm").mkdir()
                (folder / "dm/uuid").write_text(facts["uuid"] + "\n")
            if "backing" in facts:
                (folder / "backing_dev").write_text(facts["backing"] + "\n")
            if "alias" in facts:
                (tmp_path / "dev/mapper" / facts["alias"]).symlink_to(f"../{name}")
                (tmp_path / "dev" / name).touch()
        return tmp_path

    return build


CRYPT = {"uuid": "CRYPT-LUKS2-0123-swap", "alias": "swap"}
LVM = {"uuid": "LVM-abc", "alias": "vg-swap"}
MACHINES = {
    "no-swap": (Swap.NONE, {}),
    "plain-partition": (Swap.UNENCRYPTED, {"areas": ["/dev/sda2"], "devices": {"sda2": {}}}),
    "dm-crypt": (Swap.ENCRYPTED, {"areas": ["/dev/dm-0"], "devices": {"dm-0": CRYPT}}),
    "dm-crypt-by-name": (Swap.ENCRYPTED, {"areas": ["/dev/mapper/swap"], "devices": {"dm-0": CRYPT}}),
    "lvm-on-crypt": (
        Swap.ENCRYPTED,
        {"areas": ["/dev/dm-1"], "devices": {"dm-1": {**LVM, "on": ["dm-0"]}, "dm-0": CRYPT}},
    ),
    "lvm-on-a-disk": (
        Swap.UNENCRYPTED,
        {"areas": ["/dev/dm-1"], "devices": {"dm-1": {**LVM, "on": ["sda"]}, "sda": {}}},
    ),
    "lvm-on-both": (
        Swap.UNENCRYPTED,
        {"areas": ["/dev/dm-1"], "devices": {"dm-1": {**LVM, "on": ["dm-0", "sda"]}, "dm-0": CRYPT, "sda": {}}},
    ),
    "crypt-and-plain": (
        Swap.UNENCRYPTED,
        {"areas": ["/dev/dm-0", "/dev/sda2"], "devices": {"dm-0": CRYPT, "sda2": {}}},
    ),
    "zram": (Swap.NONE, {"areas": ["/dev/zram0"], "devices": {"zram0": {}}}),
    "zram-without-backing": (Swap.NONE, {"areas": ["/dev/zram0"], "devices": {"zram0": {"backing": "none"}}}),
    "zram-on-a-disk": (Swap.UNENCRYPTED, {"areas": ["/dev/zram0"], "devices": {"zram0": {"backing": "/dev/sda3"}}}),
    "zram-on-crypt": (
        Swap.ENCRYPTED,
        {"areas": ["/dev/zram0"], "devices": {"zram0": {"backing": "/dev/dm-0"}, "dm-0": CRYPT}},
    ),
    "file-on-a-disk": (
        Swap.UNENCRYPTED,
        {"areas": ["/swap\\040file"], "devices": {"sda1": {}}, "mounts": [("/", "/dev/sda1")]},
    ),
    "file-on-crypt": (
        Swap.ENCRYPTED,
        {
            "areas": ["/var/swap/file"],
            "devices": {"sda1": {}, "dm-0": CRYPT},
            "mounts": [("/", "/dev/sda1"), ("/var", "/dev/mapper/swap")],
        },
    ),
    "file-beside-a-mount": (
        Swap.UNENCRYPTED,
        {
            "areas": ["/variable/file"],
            "devices": {"sda1": {}, "dm-0": CRYPT},
            "mounts": [("/", "/dev/sda1"), ("/var", "/dev/mapper/swap")],
        },
    ),
    "file-on-who-knows-what": (Swap.UNKNOWN, {"areas": ["/swapfile"], "mounts": [("/", "overlay")]}),
    "device-that-is-not-there": (Swap.UNKNOWN, {"areas": ["/dev/root"]}),
    "crypt-and-unknown": (Swap.UNKNOWN, {"areas": ["/dev/dm-0", "/dev/root"], "devices": {"dm-0": CRYPT}}),
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_swap_of_a_machine_is_judged(machine, name):
    """Encrypted only if every area is dm-crypt to its last layer; what cannot be told is unknown."""
    wanted, how = MACHINES[name]
    assert swap_state(machine(**how)) is wanted


def test_without_proc_the_swap_is_unknown(tmp_path):
    """A system that tells nothing of its swap: unknown, not none."""
    assert swap_state(tmp_path) is Swap.UNKNOWN


def test_this_machine_has_an_answer():
    """On the machine at hand the question is answered without failing."""
    assert swap_state() in set(Swap)
    assert (os.geteuid() != 0) or Path("/proc/swaps").exists()
