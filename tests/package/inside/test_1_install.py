"""The package comes onto a machine that has never had a hookd."""

import glob
import grp
import os
import pwd
import re
import stat
import subprocess

from harness import wait_until
from machine import METRICS, TEST, UNITS, Cursor, fork_as, hookd, install, is_active, run, show, systemctl


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def owner(path):
    status = os.stat(path)
    return pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name


def test_the_packages_install_and_hookd_runs_at_once():
    cursor = Cursor()
    install("hookd", "libhookd1", "libhookd-dev")
    for unit in UNITS:
        assert systemctl("is-enabled", unit).stdout.strip() == "enabled", unit
        assert is_active(unit), unit
    started = cursor.wait_for("started: data in /var/lib/hookd, 0 endpoints")
    version = run("dpkg-query", "--show", "--showformat=${Version}", "hookd").stdout
    assert f"hookd {version} started" in started["MESSAGE"]
    assert hookd.submit.get("/v1/health").json == {"accepting": True}


def test_nothing_failed_and_nothing_was_complained_about():
    assert wait_until(lambda: systemctl("is-system-running", check=False).stdout.strip() == "running", 20)
    loud = run("journalctl", "--unit=hookd*", "--priority=warning", "--output=cat").stdout
    assert loud == ""
    systemd = run("journalctl", "_PID=1", "--grep=hookd", "--priority=warning", "--output=cat", check=False).stdout
    assert systemd == ""


def test_metrics_are_off_until_somebody_wants_them():
    assert systemctl("is-enabled", METRICS, check=False).stdout.strip() == "disabled"
    assert not is_active(METRICS)


def test_the_user_is_one_that_nobody_can_log_in_as():
    entry = pwd.getpwnam("hookd")
    assert entry.pw_shell.endswith("/nologin") and 0 < entry.pw_uid < 1000
    with open("/etc/shadow") as file:
        assert re.search(r"^hookd:[!*]+:", file.read(), re.MULTILINE)
    assert os.getgrouplist("hookd", entry.pw_gid) == [entry.pw_gid]


def test_the_state_directory_is_open_to_hookd_alone():
    assert mode("/var/lib/hookd") == 0o700
    found = [os.path.join(at, name) for at, directories, files in os.walk("/var/lib/hookd") for name in directories + files]
    assert "/var/lib/hookd/hookd.mdb" in found and "/var/lib/hookd/master.key" in found
    for path in ["/var/lib/hookd", *found]:
        assert owner(path) == ("hookd", "hookd"), path
        assert mode(path) & 0o077 == 0, path


def test_configuration_belongs_to_root_and_is_not_needed():
    assert os.listdir("/etc/hookd") == ["ca"]
    for path in ["/etc/hookd", "/etc/hookd/ca"]:
        assert owner(path) == ("root", "root") and mode(path) == 0o755, path


def test_sockets_have_the_groups_of_their_roles():
    assert mode("/run/hookd") == 0o755 and owner("/run/hookd") == ("root", "root")
    for role in ["submit", "manage", "admin"]:
        path = f"/run/hookd/{role}.sock"
        assert mode(path) == 0o660 and owner(path) == ("root", f"hookd-{role}"), path
    assert sorted(os.listdir("/run/hookd")) == ["admin.sock", "manage.sock", "submit.sock"]


def test_systemd_finds_no_fault_with_the_units():
    done = run("systemd-analyze", "verify", "--man=no", *UNITS, METRICS)
    assert done.stdout + done.stderr == ""


def test_the_exposure_of_the_service_is_low():
    for arguments in [["hookd.service"], ["--offline=true", "/lib/systemd/system/hookd.service"]]:
        done = run("systemd-analyze", "security", "--no-pager", "--threshold=15", *arguments)
        assert float(re.search(r"Overall exposure level for \S+ ([\d.]+)", done.stdout)[1]) <= 1.5, done.stdout


def test_the_metadata_addresses_of_clouds_are_denied():
    denied = show("hookd.service", "IPAddressDeny").split()
    assert sorted(denied) == sorted([
        "169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "192.0.0.192/32", "100.100.100.200/32",
        "fd00:ec2::254/128", "fd20:ce::254/128"])
    assert show("hookd.service", "IPAddressAllow") == ""


def test_manual_completions_documents_and_examples_are_where_they_are_looked_for():
    for path in ["man/man1/hookctl.1.gz", "man/man5/hookd.conf.5.gz", "man/man8/hookd.8.gz", "man/man3/libhookd.3.gz",
                 "bash-completion/completions/hookctl", "zsh/vendor-completions/_hookctl", "doc/hookd/api.md",
                 "doc/hookd/format.md", "doc/hookd/guarantees.md", "doc/hookd/SECURITY.md", "doc/hookd/why.md",
                 "doc/hookd/examples/producer.py", "doc/libhookd-dev/examples/producer.c"]:
        assert os.path.isfile(f"/usr/share/{path}"), path


def manual():
    """hookd(8) without its markup."""
    page = run("gzip", "--decompress", "--stdout", "/usr/share/man/man8/hookd.8.gz").stdout
    return re.sub(r"\\f[IBR]", "", page).replace("\\-", "-").replace("\\&", "")


def test_every_file_that_hookd_8_names_is_there():
    paths = set(re.findall(r"(?<![\w/])/(?:usr|lib)/[\w/.+-]*\w", manual()))
    assert "/usr/share/doc/hookd/api.md" in paths and "/usr/libexec/hookd-sender" in paths
    assert [path for path in paths if not os.path.exists(path)] == []


def test_every_stop_that_hookd_8_gives_closes_every_socket():
    """One that is left open starts hookd again at the next connection."""
    stops = re.findall(r"^systemctl (?:stop|disable --now) .+", manual(), re.MULTILINE)
    assert len(stops) >= 3
    assert [stop for stop in stops if not {*UNITS, METRICS} <= set(stop.split())] == []


def test_the_examples_work_as_a_user_of_the_group():
    run("adduser", "--quiet", "--disabled-password", "--gecos", "", "shop")
    run("adduser", "--quiet", "shop", "hookd-submit")
    python = ["python3", "/usr/share/doc/hookd/examples/producer.py", "order.paid", "order-4711-paid"]

    def produce(command):
        done = subprocess.run(command, input='{"order":4711}\n', capture_output=True, text=True, cwd="/")
        return done.returncode, done.stdout + done.stderr

    for command in [python, [os.path.join(TEST, "producer"), "order.paid"]]:
        status, said = fork_as("shop", lambda: produce(command))
        assert status == 0 and re.search(r"evt_\w{26}", said), said
    uids = {event["uid"] for event in hookd.manage.all("/v1/events")}
    assert uids == {pwd.getpwnam("shop").pw_uid}


def test_the_library_is_found_by_its_soname_and_has_what_its_package_promises():
    library = glob.glob("/usr/lib/*/libhookd.so.1")
    assert len(library) == 1 and os.path.islink(library[0])
    needs = run("dpkg-query", "--show", "--showformat=${Depends}", "libhookd-dev").stdout
    assert re.fullmatch(r"libhookd1 \(= [\d.]+\)", needs), needs
    run("ldconfig")
    assert "libhookd.so.1 " in run("ldconfig", "--print-cache").stdout
