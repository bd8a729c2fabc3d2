"""Speaks the worker's protocol without PySR, well or badly: python fake_worker.py MODE [PATH]."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

FIRST = [{"complexity": 1, "loss": 0.5, "equation": "x0"}]
BETTER = [*FIRST, {"complexity": 7, "loss": 0.001, "equation": "(x0 * x0) + (2.0 * (x1 * x1))"}]


def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def recorded(path):
    with open(path) as file:
        return [
            {"complexity": int(r["Complexity"]), "loss": float(r["Loss"]), "equation": r["Equation"]}
            for r in csv.DictReader(file)
        ]


def serve(mode, path):
    for line in sys.stdin:
        job = json.loads(line)
        number = job["job"]
        if mode == "replay":
            say("done", job=number, rows=recorded(path))
            continue
        if mode == "echo":
            say("done", job=number, rows=FIRST, notes=[json.dumps(sorted(job))])
            continue
        if mode == "search":
            say("failed", job=number, kind="search", message="JuliaError: no such operator")
            continue
        say("frontier", job=number, rows=FIRST)
        if mode == "slow":
            for _ in range(3):
                time.sleep(0.1)
                say("frontier", job=number, rows=BETTER)
        elif mode == "crash":
            say("frontier", job=number, rows=BETTER)
            sys.stderr.write("julia: something broke on line 42\n")
            sys.exit(7)
        elif mode == "garbage":
            for k in range(50):
                sys.stdout.write(f"Precompiling project... {k}\n\x00\xff{{]\n")
            sys.stdout.write('{"event": "frontier", "rows": [{"complexity": 3}, 5, {"equation": null}]}\n')
            sys.stdout.write('{"event": "nonsense"}\n[1, 2]\n')
        elif mode == "flood":
            say("frontier", job=number, rows=BETTER)
            while True:
                sys.stdout.write("y\n" * 1000)
        elif mode == "line":
            say("frontier", job=number, rows=BETTER)
            while True:
                sys.stdout.write("y" * 100_000)
        elif mode == "killed":
            say("frontier", job=number, rows=BETTER)
            os.kill(os.getpid(), signal.SIGKILL)
        elif mode == "memory":
            say("frontier", job=number, rows=BETTER)
            say("failed", job=number, kind="memory", message="OutOfMemoryError()")
            sys.exit(1)
        elif mode == "endless":
            say("frontier", job=number, rows=BETTER)
            # A child that ignores polite requests, as a Julia process may.
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)",
                ]
            )
            sys.stderr.write(f"child {child.pid}\n")
            sys.stderr.flush()
            with open(path, "w") as file:
                file.write(str(child.pid))
            time.sleep(600)
        elif mode == "chatty":
            say("frontier", job=number, rows=BETTER)
            while True:
                say("progress", job=number, message="still here")
        elif mode == "blank":
            say("frontier", job=number, rows=BETTER)
            while True:
                sys.stdout.write("\n" * 20)
                sys.stdout.flush()
                time.sleep(0.001)
        elif mode == "worse":
            say("frontier", job=number, rows=BETTER)
            say(
                "frontier",
                job=number,
                rows=[{"complexity": 7, "loss": 0.4, "equation": "x0 * x1 + (x1 + 1.0)"}],
            )
            say("done", job=number, rows=FIRST)
            continue
        elif mode == "nonsense":
            say("frontier", job=number, rows=BETTER, notes=5)
            say("frontier", job=number, rows=[{"complexity": 9, "loss": 10**400, "equation": "x1"}])
            say("frontier", job=number, rows=[{"complexity": 7, "loss": float("nan"), "equation": "x1"}])
            say("frontier", job=number, rows=[{"complexity": 7, "loss": -1.0, "equation": "x1"}])
            say("frontier", job=number + 5, rows=[{"complexity": 7, "loss": 0.0, "equation": "x1"}])
            say("progress", job=number, message="\x1b[2J\ud800")
            say("done", job=number, rows=[{"complexity": 11, "loss": 0.0, "equation": "x7"}], versions=[1])
            continue
        elif mode == "second-endless":
            if os.path.exists(path):
                say("frontier", job=number, rows=BETTER)
                with open(path, "w") as file:
                    file.write("searching")
                time.sleep(600)
            open(path, "w").close()
        elif mode == "patient":
            say("frontier", job=number, rows=BETTER)
            while not os.path.exists(os.path.join(job["folder"], "stop")):
                time.sleep(0.05)
        elif mode in ("apart", "orphan"):
            say("frontier", job=number, rows=BETTER)
            stray = [sys.executable, "-c", "import time; time.sleep(600)"]
            if mode == "orphan":
                # Its parent has ended and its session is its own: only its environment tells where it comes from.
                start = f"import subprocess; print(subprocess.Popen({stray!r}, stdout=-3, start_new_session=True).pid)"
                child = int(subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE).stdout)
            else:
                child = subprocess.Popen(stray, start_new_session=True).pid
            with open(path, "w") as file:
                file.write(str(child))
            if mode == "orphan":
                os._exit(3)
            say("failed", job=number, kind="memory", message="the worker used too much")
            time.sleep(600)
        elif mode == "held":
            say("frontier", job=number, rows=BETTER)
            # The child inherits this process's output, and lives on.
            if os.fork() == 0:
                time.sleep(600)
            os._exit(5)
        elif mode == "late":
            for k in range(40):
                say("progress", job=number, message=f"step {k}")
            say("frontier", job=number, rows=BETTER)
            time.sleep(600)
        elif mode == "unsaid":
            os.mkdir(os.path.join(job["folder"], "run"))
            with open(os.path.join(job["folder"], "run", "hall_of_fame.csv"), "w") as file:
                file.write(f'Complexity,Loss,Equation\n7,0.001,"{BETTER[1]["equation"]}"\n')
            time.sleep(600)
        elif mode == "unreadable":
            rows = [{"complexity": 7, "loss": 0.0, "equation": "bogus(x0)"}]
            say("frontier", job=number, rows=[*rows, *BETTER])
            say("done", job=number, rows=rows)
            continue
        elif mode == "log":
            for k in range(60):
                sys.stdout.write(f"log line {k}\n")
        elif mode == "other-failed":
            say("failed", job=number - 1, kind="search", message="of another job")
        elif mode == "other-memory":
            say("failed", job=number - 1, kind="memory", message="the worker used too much")
            time.sleep(600)
        elif mode == "strange":
            say(
                "done",
                job=number,
                rows=[*BETTER, {"complexity": 9, "loss": 0.0, "equation": "evil(__import__)"}],
            )
            continue
        say("done", job=number, rows=BETTER)


def main(mode, path):
    if mode == "unstarted":
        say("failed", kind="start", message="ImportError: cannot import name 'jl'")
        sys.exit(3)
    if mode == "chatty-start":
        while True:
            say("progress", message="compiling")
    if mode == "silent":
        time.sleep(600)
    if mode == "dead":
        sys.stderr.write("libjulia not found\n")
        sys.exit(127)
    if mode == "crash-once" and not os.path.exists(path):
        open(path, "w").close()
        say("ready")
        sys.stdin.readline()
        sys.exit(1)
    if mode == "noisy-start":
        print("Welcome to Julia!")
    say("ready", versions={"pysr": "2.7.2", "julia": "1.10.4"})
    if mode == "deaf":
        time.sleep(600)
    serve(mode, path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
