"""Which functions a daemon runs, and a linker script that puts them side by side. By hand: `just order`.

    order.py trace HITS PROGRAM [ARGUMENT...]    runs PROGRAM and writes the name of each function at its first call
    order.py script PROGRAM SCRIPT HITS...       writes the script; what is in the first HITS comes first

A breakpoint at the head of each function is gone at its first hit, so the program soon runs at its own speed. Linux on
x86_64 alone; the program keeps its symbols. Why: docs/adr/0009.
"""

import bisect
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections import Counter

SETOPTIONS, GETREGS, SETREGS, CONT, DETACH, TRACEME = 0x4200, 12, 13, 7, 17, 0
# Forks, threads and exec are told of; the program ends with us.
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x100000
EXEC = 4
ALL = 0x40000000  # __WALL
BREAK = b"\xcc"


class Registers(ctypes.Structure):
    """user_regs_struct of x86_64."""

    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base"
        " gs_base ds es fs gs".split()
    ]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def functions(program):
    """(address, bytes, name) of each function."""
    table = subprocess.run(["nm", "-S", "--defined-only", program], capture_output=True, text=True, check=True).stdout
    for line in table.splitlines():
        fields = line.split(None, 3)
        if len(fields) == 4 and fields[2] in "tTwW":
            yield int(fields[0], 16), int(fields[1], 16), fields[3]


def trace(hits, program, *arguments):
    program = os.path.realpath(program)
    names = {}
    for address, _, name in functions(program):
        names.setdefault(address, []).append(name)
    pid = os.fork()
    if pid == 0:
        libc.ptrace(TRACEME, 0, None, None)
        os.execv(program, [program, *arguments])
    os.waitpid(pid, 0)
    libc.ptrace(SETOPTIONS, pid, None, OPTIONS)
    with open(f"/proc/{pid}/maps") as maps:
        base = min(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(program))
    before = {}
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for address in names:
            memory.seek(base + address)
            before[base + address] = memory.read(1)
            memory.seek(base + address)
            memory.write(BREAK)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    registers, seen = Registers(), set()
    libc.ptrace(CONT, pid, None, None)
    with open(hits, "w", buffering=1) as log:
        while True:
            who, status = os.waitpid(-1, ALL)
            if not os.WIFSTOPPED(status):
                if who == pid:
                    return
                continue
            stop, event, deliver = os.WSTOPSIG(status), status >> 16, 0
            if stop == signal.SIGTRAP and event == EXEC and who != pid:
                # Another program, such as git.
                libc.ptrace(DETACH, who, None, None)
                continue
            if stop == signal.SIGTRAP and not event:
                libc.ptrace(GETREGS, who, None, ctypes.addressof(registers))
                address = registers.rip - 1
                if address in before:
                    with open(f"/proc/{who}/mem", "r+b", buffering=0) as memory:
                        memory.seek(address)
                        memory.write(before[address])
                    registers.rip = address
                    libc.ptrace(SETREGS, who, None, ctypes.addressof(registers))
                    if address not in seen:
                        seen.add(address)
                        log.writelines(name + "\n" for name in names[address - base])
                else:
                    deliver = stop
            elif stop not in (signal.SIGTRAP, signal.SIGSTOP):
                deliver = stop
            libc.ptrace(CONT, who, None, deliver)


def pattern(name):
    """A name without what changes with the compiler, and with versions and features of crates: their hashes, and the
    places that are pointed back to, since hashes differ in length."""
    name = re.sub(r"\.llvm\.\d+$", "", name)
    name = re.sub(r"Cs[0-9A-Za-z]{6,13}_(?=\d)", "Cs?????????*_", name)
    return re.sub(r"B[0-9A-Za-z]{0,3}_", "B*_", name)


def expression(glob):
    """What the linker makes of a pattern."""
    return "^" + re.escape(glob).replace(r"\?", "[^\n]").replace(r"\*", "[^\n]*") + "$"


# How much of what never ran may come with a shorter pattern.
SLACK = 0.05


def script(program, output, *runs):
    size, run, place, all_names = Counter(), {}, {}, []
    for _, count, name in functions(program):
        size[pattern(name)] += count
        all_names.append(re.sub(r"\.llvm\.\d+$", "", name))
    all_names = "\n".join(all_names)
    for number, hits in enumerate(runs):
        with open(hits) as lines:
            for name in map(pattern, lines.read().split()):
                if name in size and name not in run:
                    run[name], place[name] = number, len(place)
    names = sorted(size)

    def beginning(prefix):
        return names[bisect.bisect_left(names, prefix) : bisect.bisect_left(names, prefix + "\x7f")]

    patterns, done = [], set()
    for number in range(len(runs)):
        got = set()
        for name in (name for name in names if run.get(name) == number):
            if name in got:
                continue
            shorter = name
            # The shortest beginning that brings little else.
            while name.startswith("_R") and len(shorter) > 8:
                along = beginning(shorter[:-1])
                ours = sum(size[other] for other in along if run.get(other) == number)
                others = sum(size[other] for other in along if run.get(other) != number and other not in done)
                if others > SLACK * ours:
                    break
                shorter = shorter[:-1]
            along = [name] if shorter == name else beginning(shorter)
            if shorter != name:
                # The hashes are left open, so it may match more than what begins like it.
                found = set(map(pattern, re.findall(expression(shorter + "*"), all_names, re.MULTILINE)))
                others = sum(size[other] for other in found.difference(along) if other not in run)
                if others > SLACK * sum(map(size.get, along)):
                    shorter, along = name, [name]
            got.update(along)
            first = min(place[other] for other in along if run.get(other) == number)
            patterns.append((number, first, shorter if shorter == name else shorter + "*"))
        done |= got
    with open(output, "w") as text:
        text.write("/* Made by `just order`. What a daemon at rest runs, side by side: docs/adr/0009. */\n")
        text.write("SECTIONS\n{\n  .text.order :\n  {\n")
        for _, _, name in sorted(patterns):
            # Functions that rarely run have a prefix of their own.
            section = f".text*{name}" if name.startswith("_R") else f".text.{name}"
            text.write(f"    *({section})\n")
        text.write("  }\n}\nINSERT BEFORE .text;\n")
    ran = sum(size[name] for name in run)
    print(f"{len(patterns)} patterns for {len(run)} of {len(size)} functions, {ran} of {size.total()} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["trace", hits, program, *arguments]:
            trace(hits, program, *arguments)
        case ["script", program, output, *runs] if runs:
            script(program, output, *runs)
        case _:
            sys.exit(__doc__)
