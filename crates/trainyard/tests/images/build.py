"""Builds the images of the container tests from what this machine has: nothing is pulled.

    build.py ENGINE            ENGINE is podman or docker

Each image is named localhost/trainyard-test/NAME and is left alone if it is there already with the same
contents. A program comes with the libraries that `ldd` names.
"""

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

PREFIX = "localhost/trainyard-test"
TOOLS = """sh bash cat ls tail chown chmod id env mkdir echo sleep true false head sort rm mv cp ln touch test
uname dirname basename wc tr cut seq date mktemp kill grep sed find""".split()


def libraries(program):
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        words = line.split()
        path = words[2] if "=>" in words and len(words) > 2 else words[0]
        if path.startswith("/"):
            yield path


def lay(root, path, target=None):
    """Copies a file or folder to where it is, and the libraries of a program."""
    place = root + (target or path)
    if os.path.exists(place):
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.isdir(path):
        shutil.copytree(path, place, symlinks=True, ignore_dangling_symlinks=True)
        for folder, _, names in os.walk(path):
            for name in names:
                inner = os.path.join(folder, name)
                if os.access(inner, os.X_OK) or ".so" in name:
                    for library in libraries(inner):
                        lay(root, library)
        return
    shutil.copy2(os.path.realpath(path), place)
    for library in libraries(path):
        lay(root, library)


def program(root, name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        sys.exit(f"{name} is not on this machine")
    lay(root, path, "/usr/bin/" + name)


def base(root):
    for folder in ("tmp", "etc", "root", "run", "var/tmp", "usr/bin", "usr/lib", "home"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    os.chmod(root + "/tmp", 0o1777)
    for short in ("bin", "sbin"):
        os.symlink("usr/bin", os.path.join(root, short))
    with open(root + "/etc/passwd", "w") as file:
        file.write("root:x:0:0::/root:/bin/sh\npostgres:x:70:70::/home:/bin/sh\nworker:x:1234:1234::/home:/bin/sh\n")
    with open(root + "/etc/group", "w") as file:
        file.write("root:x:0:\npostgres:x:70:\nworker:x:1234:\n")


def busybox(root):
    os.makedirs(root + "/bin")
    os.makedirs(root + "/etc")
    os.makedirs(root + "/tmp")
    shutil.copy2("/bin/busybox", root + "/bin/busybox")
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            os.symlink("busybox", f"{root}/bin/{name}")
    with open(root + "/etc/passwd", "w") as file:
        file.write("root:x:0:0::/root:/bin/sh\nworker:x:1234:1234::/tmp:/bin/sh\n")
    return ["CMD [\"sh\"]"]


def debian(root):
    base(root)
    for name in TOOLS:
        program(root, name)
    # What Node is linked with, as every Debian image has it.
    for library in glob.glob("/usr/lib/*-linux-gnu/libstdc++.so.6") + glob.glob("/usr/lib/*-linux-gnu/libdl.so.2"):
        lay(root, library)
    for library in glob.glob("/usr/lib/*-linux-gnu/libm.so.6") + glob.glob("/usr/lib/*-linux-gnu/libgcc_s.so.1"):
        lay(root, library)
    for library in glob.glob("/usr/lib/*-linux-gnu/libpthread.so.0") + glob.glob("/lib64/ld-linux-*"):
        lay(root, library)
    return ["ENV MADE_BY=trainyard-test", "CMD [\"bash\"]"]


def redis(root):
    base(root)
    for name in ("sh", "redis-server", "redis-cli", "echo", "sleep", "cat"):
        program(root, name)
    return ["EXPOSE 6379", "CMD [\"redis-server\", \"--protected-mode\", \"no\", \"--save\", \"\"]"]


def postgres(root):
    base(root)
    for name in TOOLS:
        program(root, name)
    home = sorted(glob.glob("/usr/lib/postgresql/*"))[-1]
    version = os.path.basename(home)
    for name in ("initdb", "postgres", "pg_ctl", "psql", "pg_isready"):
        lay(root, f"{home}/bin/{name}")
    lay(root, f"/usr/share/postgresql/{version}")
    lay(root, f"{home}/lib")
    lay(root, "/usr/share/zoneinfo/UTC")
    with open(root + "/start", "w") as file:
        file.write(
            "#!/bin/sh\nset -e\nexport PATH=" + home + "/bin:$PATH\n"
            "[ -n \"$POSTGRES_PASSWORD\" ] || { echo 'POSTGRES_PASSWORD is not set'; exit 1; }\n"
            "echo \"$POSTGRES_PASSWORD\" > /tmp/pw\n"
            "initdb -D /tmp/data -U postgres --pwfile=/tmp/pw -A scram-sha-256 --no-sync > /dev/null\n"
            "echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf\n"
            "exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off\n"
        )
    os.chmod(root + "/start", 0o755)
    return [f"ENV PATH={home}/bin:/usr/bin", "USER postgres", "EXPOSE 5432", "ENTRYPOINT [\"/start\"]"]


def python(root):
    debian(root)
    where = "import sysconfig, platform; print(sysconfig.get_path('stdlib'), platform.python_version())"
    found = subprocess.run(["/usr/bin/python3", "-c", where], capture_output=True, text=True, check=True).stdout
    library, _ = found.split()
    lay(root, "/usr/bin/python3")
    lay(root, library)
    for heavy in ("test", "idlelib", "__pycache__", "pydoc_data", "site-packages", "dist-packages"):
        shutil.rmtree(f"{root}{library}/{heavy}", ignore_errors=True)
    if os.path.isdir("/usr/share/python-wheels"):
        lay(root, "/usr/share/python-wheels")
    return ["ENV MADE_BY=trainyard-test", "CMD [\"python3\"]"]


def fingerprint(root, lines):
    digest = hashlib.sha256("\n".join(lines).encode())
    for folder, folders, names in os.walk(root):
        folders.sort()
        # What Python compiles has times in it.
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in sorted(names):
            path = os.path.join(folder, name)
            digest.update(path[len(root):].encode())
            if os.path.islink(path):
                digest.update(os.readlink(path).encode())
            else:
                with open(path, "rb") as file:
                    digest.update(file.read())
    return digest.hexdigest()[:16]


def main():
    engine = sys.argv[1]
    for make in (busybox, debian, python, redis, postgres):
        name = f"{PREFIX}/{make.__name__}"
        with tempfile.TemporaryDirectory() as folder:
            root = folder + "/root"
            os.makedirs(root)
            lines = make(root)
            mark = fingerprint(root, lines)
            there = subprocess.run(
                [engine, "image", "inspect", "--format", "{{ index .Labels \"mark\" }}", name],
                capture_output=True, text=True,
            )
            if there.returncode == 0 and there.stdout.strip() == mark:
                continue
            with open(folder + "/Dockerfile", "w") as file:
                file.write("\n".join(["FROM scratch", "COPY root /", f"LABEL mark={mark}", *lines]) + "\n")
            subprocess.run([engine, "build", "-q", "-t", name, folder], check=True, stdout=subprocess.DEVNULL)
            print(f"built {name}")


main()
