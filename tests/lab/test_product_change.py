"""bandmaster on real parts: a change of tier is what RADIUS, kernel, session and ledger say."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from lab_rig import LOGIN
from product_rig import RATES, Product, asking, login, stopped

from lab.servers.daemon import wait_until

MBIT = 1_000_000


def filter_id(plan: str) -> str:
    """The reply attribute of a plan's tier."""
    down, up = RATES[plan]
    return f"{down}/{up}"


def test_import_adopts_what_is_live(product: Product) -> None:
    """Goal: the written inventory is true and sends nothing. Method: import it twice, check."""
    product.good("inventory", "import", product.lab.facts["inventory"])
    assert product.events("line-1") == product.events("line-2") == ("service.adopted",)
    assert product.saved("acc1") == ""
    product.good("device", "check")
    product.good("doctor")
    product.static_at("line-1", "home-50")
    product.static_at("line-3", "home-20")
    assert product.answer() == filter_id("home-50")


def test_radius_answers_old_until_the_decision_and_new_after_it(product: Product) -> None:
    """Goal: no login sees anything but the old tier before the commit, the new one after it.

    Method: requests without a pause while the change is stopped with its transaction open, while
    it commits, and stopped right after: before the CoA, which the live session still waits for.
    """
    product.tier("line-2", "home-50")
    login(product)
    old, new = filter_id("home-50"), filter_id("home-100")
    with asking(product) as asker:
        words = ("service", "tier", "line-2", "home-100", "--yes")
        process = product.start(*words, cut=("--at", "before decision", "--signal", "STOP"))
        assert stopped(process)
        assert set(asker.more(20)) == {old}
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert set(asker.more(20)) == {new}
        product.dynamic_at("home-100")
        process = product.start(
            *("service", "tier", "line-2", "home-50", "--yes"),
            cut=("--at", "after decision", "--signal", "STOP"),
        )
        assert stopped(process)
        assert set(asker.more(20)) == {old}
        assert product.kernel("acc2") == RATES["home-100"]
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate()
        assert process.returncode == 0, said
    changes = [pair for pair in pairwise(asker.answers) if pair[0] != pair[1]]
    assert changes == [(old, new), (new, old)]
    product.good("recover", "--wait")
    product.dynamic_at("home-50")
    product.at_rest()


def test_a_static_line_gets_its_tier_in_a_running_flow(product: Product) -> None:
    """Goal: up and down by SSH in one connection; the neighbour and the octets agree.

    Method: iperf3 over both changes. What SNMP told the journal lies between what the kernel
    counted; the agent refreshes every 3 s, so the second change waits until it has seen growth.
    """
    product.tier("line-1", "home-50")
    with ExitStack() as ends:
        neighbour, flow = product.lab.flow("sub3"), product.lab.flow("sub1")
        ends.callback(neighbour.stop)
        ends.callback(flow.stop)
        flow.assert_at(50_000)
        product.good("service", "tier", "line-1", "home-100", "--yes")
        first = sent_by_acc1(product)
        flow.assert_at(100_000)
        assert wait_until(lambda: seen_by_snmp(product, "line-1") >= first + 50 * MBIT // 8, 30)
        product.good("service", "tier", "line-1", "home-20", "--yes")
        last = sent_by_acc1(product)
        flow.assert_at(20_000)
        neighbour.assert_at(20_000)
    *_, after_first, before_last, after_last = product.evidence("line-1")
    assert after_first <= first < before_last <= after_last <= last
    product.good("recover", "--wait")
    product.static_at("line-1", "home-20")
    assert product.saved("acc1")
    product.static_at("line-3", "home-20")
    assert product.saved("acc3") == ""
    product.at_rest()


def test_a_boot_loads_what_was_saved(product: Product) -> None:
    """Goal: the saved file is the tier. Method: a foreign rate, then the boot unit's own line."""
    product.tier("line-1", "home-100")
    product.lab.set_rate("acc1", 7_000)
    product.lab.run("bng", "sh", "-e", "/etc/bandmaster/tc.d/acc1.conf")
    product.static_at("line-1", "home-100")


def test_a_dynamic_line_gets_its_tier_in_a_running_flow(product: Product) -> None:
    """Goal: up and down by CoA in one connection, the neighbour stays. Method: iperf3."""
    product.tier("line-2", "home-50")
    session = login(product)
    octets = seen_by_snmp(product, "line-2")
    with ExitStack() as ends:
        neighbour, flow = product.lab.flow("sub3"), product.lab.flow("sub2")
        ends.callback(neighbour.stop)
        ends.callback(flow.stop)
        flow.assert_at(50_000)
        for plan in ("home-100", "home-20"):
            product.tier("line-2", plan)
            flow.assert_at(RATES[plan][0])
        neighbour.assert_at(20_000)
    assert wait_until(lambda: seen_by_snmp(product, "line-2") >= octets + 100 * MBIT // 8, 30)
    product.dynamic_at("home-20")
    assert product.sessions()[0]["session_id"] == session["session_id"]
    assert product.saved("acc2") == ""
    product.at_rest()


def sent_by_acc1(product: Product) -> int:
    """Octets that the kernel has sent to sub1."""
    return int(product.lab.run("bng", "cat", "/sys/class/net/acc1/statistics/tx_bytes"))


def seen_by_snmp(product: Product, service_id: str) -> int:
    """Octets sent to a subscriber as `subscriber show --live` tells them from SNMP."""
    evidence = product.subscriber(service_id, "--live")["live"]["evidence"]["bng"]
    assert evidence["read"], evidence["why_not"]
    return int(evidence["out_octets"])


def test_suspend_resume_terminate_activate(product: Product) -> None:
    """Goal: a login's whole life: each verb really ends or moves the session, and what is next.

    Method: the access agent and FreeRADIUS after each verb; the agent logs in again each time.
    """
    product.tier("line-2", "home-50")
    first = login(product)
    product.good("service", "suspend", "line-2", "--yes", "--reason", "unpaid")
    assert product.sessions() == []
    assert stop_cause(product, first) == "Admin-Reset"
    again = login(product)
    assert again["session_id"] != first["session_id"]
    assert product.answer() == filter_id("suspended")
    assert product.kernel("acc2") == RATES["suspended"]
    product.good("service", "resume", "line-2", "--yes")
    product.dynamic_at("home-50")
    assert product.sessions()[0]["session_id"] == again["session_id"]
    product.good("service", "terminate", "line-2", "--yes")
    assert product.sessions() == []
    assert product.answer() == "reject"
    with pytest.raises(ValueError, match="reject"):
        login(product)
    query = "select count(*) from radius.radusergroup where username = %s"
    assert product.rows(query, LOGIN) == [(0,)]
    product.good("service", "activate", "line-2", "--plan", "home-20", "--yes")
    login(product)
    product.dynamic_at("home-20")
    product.good("recover", "--wait")
    assert product.events("line-2")[-4:] == (
        "service.suspended",
        "service.resumed",
        "service.terminated",
        "service.activated",
    )
    product.at_rest()


def test_a_static_line_is_suspended_and_stopped(product: Product) -> None:
    """Goal: the same verbs over SSH. Method: the kernel's classes and the link's state."""
    product.tier("line-3", "home-20")
    product.good("service", "suspend", "line-3", "--yes", "--reason", "unpaid")
    assert product.kernel("acc3") == RATES["suspended"]
    product.good("service", "resume", "line-3", "--yes")
    product.static_at("line-3", "home-20")
    product.good("service", "terminate", "line-3", "--yes")
    assert "DOWN" in product.lab.run("bng", "ip", "-o", "link", "show", "dev", "acc3")
    assert "acc3 down" in product.saved("acc3")
    product.good("service", "activate", "line-3", "--plan", "home-20", "--yes")
    assert ",UP" in product.lab.run("bng", "ip", "-o", "link", "show", "dev", "acc3")
    product.good("recover", "--wait")
    product.static_at("line-3", "home-20")
    product.at_rest()


def test_a_nas_that_is_silent_and_then_late(product: Product) -> None:
    """Goal: no answer is an exception that names it, the rate read later settles it.

    Method: the access agent is stopped during the CoA and goes on afterwards, when it finds the
    requests in its socket.
    """
    product.tier("line-2", "home-50")
    login(product)
    (agent,) = (one["pid"] for one in product.lab.facts["daemons"] if one["name"] == "nas")
    os.kill(agent, signal.SIGSTOP)
    try:
        ended = product.run("service", "tier", "line-2", "home-100", "--yes")
        assert ended.code == 4, ended.err
        assert "no answer" in ended.err
        assert product.kernel("acc2") == RATES["home-50"]
        assert product.answer() == filter_id("home-100")
        assert "session" in product.good("exceptions", "list")
    finally:
        os.kill(agent, signal.SIGCONT)
    assert wait_until(lambda: product.kernel("acc2") == RATES["home-100"], 20)
    product.good("recover", "--wait")
    product.dynamic_at("home-100")
    product.at_rest()


def test_two_terminals_on_one_bng(product: Product) -> None:
    """Goal: two people at once never harm each other. Method: two processes, one device."""
    product.tier("line-1", "home-50")
    product.tier("line-3", "home-20")
    commands = [
        product.start("service", "tier", service_id, plan, "--yes")
        for service_id, plan in (("line-1", "home-100"), ("line-3", "home-50"))
    ]
    told = [command.communicate()[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], told
    product.good("recover", "--wait")
    product.static_at("line-1", "home-100")
    product.static_at("line-3", "home-50")
    product.tier("line-3", "home-20")
    product.at_rest()


def test_a_line_changed_by_hand_is_refused(product: Product) -> None:
    """Goal: what somebody else set is not touched. Method: `tc` by hand after the plan."""
    product.tier("line-1", "home-50")
    before = product.events("line-1")
    planned = product.run("service", "tier", "line-1", "home-100", "--plan-only", "--json")
    assert planned.code == 3
    plan_id = json.loads(planned.out)["plan"]["plan_id"]
    product.lab.set_rate("acc1", 33_000)
    try:
        assert product.run("device", "check").code == 3
        stale = product.run("change", "apply", plan_id, "--yes")
        assert (stale.code, "plan again" in stale.err) == (5, True)
        drifted = product.run("service", "tier", "line-1", "home-100", "--yes")
        assert (drifted.code, "50/10 Mbit/s" in drifted.err) == (5, True)
        assert product.kernel("acc1") == (33_000, 10_000)
        assert product.events("line-1") == before
    finally:
        product.lab.set_rate("acc1", 50_000)
    product.at_rest()


def test_the_password_is_in_radcheck_alone(product: Product) -> None:
    """Goal: secrets stay where they belong. Method: every row of every table, every log."""
    secrets = [
        product.lab.password(),
        product.lab.secret(product.lab.server("bng", "nas")["coa_secret_file"]),
        product.lab.secret(product.lab.server("bng", "snmpd")["auth_passphrase_file"]),
        product.lab.secret(product.lab.server("bng", "snmpd")["priv_passphrase_file"]),
    ]
    tables = product.rows(
        "select format('%%I.%%I', schemaname, tablename) from pg_tables"
        " where schemaname in ('public', 'radius')"
    )
    holding = [
        (table, place)
        for (table,) in tables
        for place, secret in enumerate(secrets)
        if product.rows(f"select 1 from {table} t where strpos(t::text, %s) > 0", secret)  # noqa: S608
    ]
    assert holding == [("radius.radcheck", 0)]
    state = Path(product.lab.facts["state_dir"])
    files = [*product.folder.iterdir(), *state.glob("logs/*"), state / "postgres/postgres.log"]
    files += [state / "bandmaster-inventory.yaml"]
    texts = {path.name: path.read_text(errors="replace") for path in files if path.is_file()}
    assert len(texts) > 8
    assert [name for name, text in texts.items() if any(word in text for word in secrets)] == []


def test_what_each_role_may_do(product: Product) -> None:
    """Goal: FreeRADIUS and reports can do no more than they need. Method: ask PostgreSQL itself."""
    query = (
        "select relnamespace::regnamespace || '.' || relname, privilege from pg_class,"
        " unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) as privilege"
        " where relkind in ('r', 'v') and relnamespace::regnamespace::text in ('public', 'radius')"
        " and has_table_privilege(%s, oid, privilege)"
    )
    may = {role: set(product.rows(query, role)) for role in ("app", "radius", "report")}
    writes = {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}
    assert {table for table, verb in may["radius"] if verb in writes} == {
        "radius.radacct",
        "radius.radpostauth",
        "radius.nasreload",
    }
    assert {table for table, _ in may["radius"] if table.startswith("public.")} == set()
    assert {table for table, _ in may["report"]} == {
        "public.ledger_event_v1",
        "public.ledger_service_v1",
        "public.ledger_head_v1",
        "public.invoice_v1",
        "public.invoice_line_v1",
        "public.invoice_tax_v1",
        "public.usage_window_v1",
        "public.finding_v1",
        "public.credit_v1",
    }
    assert {verb for _, verb in may["report"]} == {"SELECT"}
    kept = {"public.billing_event", "public.decision", "public.journal_step", "public.audit"}
    assert {verb for table, verb in may["app"] if table in kept} == {"SELECT", "INSERT"}
    assert not [table for table, verb in may["app"] if verb == "TRUNCATE"]
    assert product.rows("select rolname from pg_roles where rolname = 'app' and rolsuper") == []


def stop_cause(product: Product, session: dict[str, object]) -> str:
    """Why accounting says that a session has ended."""
    query = (
        "select acctterminatecause from radius.radacct"
        " where acctsessionid = %s and acctstoptime is not null"
    )
    ((cause,),) = product.rows(query, session["session_id"])
    return str(cause)
