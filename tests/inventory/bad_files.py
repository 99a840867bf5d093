"""Inventories that are wrong, each in one way people are wrong. The findings are in golden/findings.txt."""

from __future__ import annotations

C = "cluster: shop\n"
N1 = "nodes: [192.0.2.11]\n"
N2 = "nodes: [192.0.2.11, 192.0.2.12]\n"
N3 = "nodes: [192.0.2.11, 192.0.2.12, 192.0.2.13]\n"
N4 = "nodes: {a: 192.0.2.1, b: 192.0.2.2, c: 192.0.2.3, d: 192.0.2.4}\n"
OK = C + N3


def _names(*names: str) -> str:
    lines = "".join(f"  {name}: 192.0.2.{number}\n" for number, name in enumerate(names, 1))
    return f"{C}nodes:\n{lines}"


def _parameters(*lines: str) -> str:
    return OK + "postgres:\n  parameters:\n" + "".join(f"    {line}\n" for line in lines)


def _hba(*lines: str) -> str:
    return OK + "postgres:\n  hba:\n" + "".join(f"    - {line}\n" for line in lines)


SYNTAX = {
    "an open bracket": C + "nodes: [192.0.2.11, 192.0.2.12\npostgres: 15\n",
    "a tab as indent": C + "postgres:\n\tversion: 15\n" + N3,
    "a colon in plain text": C + N3 + "ssh: {user: a: b}\n",
    "a password near a syntax error": OK + "etcd:\n  password: hunter2: 'x\n",
    "a key twice": C + N3 + "postgres: 15\ncluster: shop2\n",
    "a key twice in a map": C + "nodes:\n  db1: 192.0.2.11\n  db1: 192.0.2.12\n  db3: 192.0.2.13\n",
    "an anchor and its alias": C + "nodes:\n  db1: &a {host: 192.0.2.11}\n  db2: *a\n  db3: 192.0.2.13\n",
    "a merge key": C + "nodes:\n  db1: {<<: {port: 1}, host: 192.0.2.11}\n",
    "a tag": "cluster: !!str shop\nnodes: !!python/tuple [192.0.2.11]\n",
    "a tag that runs code elsewhere": OK + "supervisor: !!python/object/apply:os.system [id]\n",
    "two documents": OK + "---\n" + OK,
    "a map as key": OK + "? {a: b}\n: c\n",
    "nested for ever": "a: " + "[" * 500 + "\n",
    "a control character": OK + "supervisor: cr\x1bon\n",
    "a character that can't be seen": OK + "supervisor: cr\u200bon\n",
    "more than anybody writes": C + "nodes: [" + "a, " * 6000 + "]\n",
}
EMPTY = {
    "nothing": "",
    "comments only": "# nodes: []\n\n",
    "null": "~\n",
    "a list": "- cluster: shop\n",
    "a word": "shop\n",
    "an empty map": "{}\n",
}
KEYS = {
    "misspelt keys": C + "hsots: [192.0.2.11]\nnods: 1\n" + "postgress: 15\n",
    "misspelt keys below": OK + "postgres: {verison: 15, data_directory: /srv/pg/data}\nssh: {usr: a}\n",
    "a key at the wrong level": OK + "port: 5432\nfailover_after: 6s\nttl: 30\n",
    "a key nobody knows": OK + "zzz: 1\n? \n: x\n",
    "upper case": "Cluster: shop\n" + N3,
    "unknown nodes and more": C + "nodes: ~\nha: {copies: 2}\netcd: {nodes: [a, b]}\n",
    "no value": OK + "postgres:\nssh:\nsupervisor:\n",
    "a scalar for a map": OK + "ssh: admin\nha: 6s\netcd: [db1]\n",
    "a map for a scalar": "cluster: {name: shop}\n" + N3 + "supervisor: [cron]\n",
}
TYPES = {
    "ports of the wrong kind": C
    + 'nodes:\n  a: {host: 192.0.2.1, port: "54a"}\n  b: {host: 192.0.2.2, port: 5432.0}\n'
    + '  c: {host: 192.0.2.3, port: true}\n  d: {host: 192.0.2.4, port: "5432"}\n'
    + "  e: {host: 192.0.2.5, port: 22:22}\n  f: {host: 192.0.2.6, port: 0x1538}\n"
    + "  g: {host: 192.0.2.7, port: 05432}\n",
    "ports out of range": OK + "postgres: {port: 0}\nssh: {port: 65536}\n",
    "a port of many digits": OK + "postgres: {port: " + "9" * 5000 + "}\n",
    "norway": "cluster: false\n" + N3 + "ssh: {sudo: no}\n",
    "a number for a name": "cluster: 2024\n" + N3,
    "versions": OK + 'postgres: "15"\n',
    "a version with a point": OK + "postgres: 15.4\n",
    "a version too old": OK + "postgres: {version: 9}\n",
    "durations": OK + "ha: {failover_after: 10}\n",
    "a duration in words": OK + "ha: {failover_after: 6 seconds}\n",
    "a duration too short": OK + "ha: {failover_after: 900ms}\n",
    "a duration too long": OK + "ha: {failover_after: 1h}\n",
    "a wrong word": OK + "ha: {durability: sync}\nsupervisor: systemD\n",
    "a priority": _names("b", "c") + "  a: {host: 192.0.2.9, priority: high, nofailover: 1}\n",
}
NODES = {
    "no nodes": C + "nodes: []\n",
    "no nodes in a map": C + "nodes: {}\n",
    "nodes missing": "postgres: 15\n",
    "nodes as one text": C + "nodes: 192.0.2.11, 192.0.2.12\n",
    "a map in a list": C + "nodes: [{host: 192.0.2.11}, 192.0.2.12:5433, 192.0.2.13]\n",
    "a node without host": C + "nodes: {db1: {port: 5432}, db2: , db3: []}\n",
    "two names for one address": C + "nodes:\n  db1: 192.0.2.11\n  db2: 192.0.2.12\n  db3: 192.0.2.11\n",
    "two spellings of one address": C + "nodes: {a: '2001:DB8::1', b: '2001:db8:0::0:1', c: 192.0.2.3}\n",
    "an address twice in a list": C + "nodes: [192.0.2.11, 192.0.2.12, 192.0.2.11]\n",
    "one label, two hosts": C + "nodes: [db.east.example.org, db.west.example.org, db3.example.org]\n",
    "neighbours without directories": C
    + "nodes:\n  a: {host: h1}\n  b: {host: h1, port: 5433, etcd_client_port: 1, etcd_peer_port: 2}\n  c: h2\n",
    "neighbours in one directory": C
    + "nodes:\n  a: {host: h1, data_dir: /srv/pg/data}\n"
    + "  b: {host: h1, port: 5433, etcd_client_port: 1, etcd_peer_port: 2, data_dir: /srv/pg/data/b}\n  c: h2\n",
    "neighbours with one etcd port": C
    + "nodes:\n  a: {host: h1, data_dir: /srv/pg/a}\n  b: {host: h1, port: 2380, data_dir: /srv/pg/b}\n  c: h2\n",
    "nobody may lead": C + "nodes: {a: {host: h1, nofailover: true}}\n",
    "following": C
    + "nodes:\n  a: h1\n  b: h2\n  c: {host: h3, follow: d}\n  d: {host: h4, follow: c}\n"
    + "  e: {host: h5, follow: f}\n  g: {host: h6, follow: g}\n"
    + "  h: {host: h7, follow: c}\n  i: {host: h8, follow: B}\n",
    "too many follow": C + "nodes: {a: h1, b: {host: h2, follow: a}, c: {host: h3, follow: b}}\n",
    "hundred and one": C + "nodes: [" + ", ".join(f"h{n}" for n in range(101)) + "]\n",
    "hostile hosts": C
    + "nodes:\n"
    + "".join(
        f"  n{number}: {host}\n"
        for number, host in enumerate(
            (
                '"h;reboot"',
                "'$(id)'",
                '"a\\nb"',
                "../x",
                "-oProxyCommand=id",
                "h_1",
                "bücher.example",
                "a..b",
                "h.",
                "256.1.1.1",
                "10.1",
                "192.0.2.011",
                "0.0.0.0",
                "'::'",
                "fe80::1",
                "fe80::1%eth0",
                "'::ffff:192.0.2.1'",
                "admin@h",
                "a.1",
                "x" * 64,
                "''",
            )
        )
    ),
    "loopback": C + "nodes: {a: 127.0.0.1, b: localhost, c: '::1'}\n",
}
NAMES = {
    "hostile names": _names(
        '"a\\"b"',
        '"a;b"',
        '"$(id)"',
        '"a\\nb"',
        "../x",
        "x" * 41,
        "é",
        "-x",
        "x-",
        "A",
        "a_b",
        "a.b",
        '"a b"',
        '""',
        "~",
        "pgha-barrier",
    ),
    "a cluster name with a quote": 'cluster: "a\'b"\n' + N3,
    "a cluster name that climbs": "cluster: ../../etc\n" + N3,
    "a cluster name of 64": f"cluster: {'x' * 64}\n" + N3,
    "a long first label": C + f"nodes: [{'x' * 41}.example.org]\n",
    "a long address": C + "nodes: ['2001:db8:1111:2222:3333:4444:5555:6666']\n",
    "a list with a reserved name": C + "nodes: [pgha-barrier.example.org]\n",
}
PATHS = {
    f"data_dir {path}": OK + f"postgres: {{data_dir: {path}}}\n"
    for path in (
        "/",
        "/etc",
        "/etc/postgres",
        "/usr/local/pg",
        "/root",
        "/home/anna",
        "/var/lib",
        "/var/lib/postgresql",
        "/pgdata",
        "/srv/pg/",
        "/srv/pg/..",
        "/srv//pg",
        "//srv/pg",
        "/srv/./pg",
        "srv/pg",
        "~/pg",
        "'/srv/a b'",
        "'/srv/$(id)/x'",
        '"/srv/a\\nb"',
        "/srv/pé",
        "/srv/" + "x" * 300,
        "15",
    )
} | {"files": OK + "ssh: {key: id_rsa}\netcd: {endpoints: [h:1], ca: ../ca.pem}\npostgres: {bin_dir: bin}\n"}
STORE = {
    "two nodes": C + N2,
    "two nodes, one member": C + "nodes: {a: h1, b: h2}\netcd: {nodes: [a]}\n",
    "even members": C + N4 + "etcd: {nodes: [a, b, c, d]}\n",
    "two members": C + N4 + "etcd: {nodes: [a, b]}\n",
    "members nobody knows": C + N4 + "etcd: {nodes: [a, bb, zzz]}\n",
    "a member twice": C + N4 + "etcd: {nodes: [a, a, b]}\n",
    "no member": C + N4 + "etcd: {nodes: []}\n",
    "nodes and endpoints": C + N4 + "etcd: {nodes: [a, b, c], endpoints: [h:2379]}\n",
    "endpoints": OK
    + "etcd:\n  endpoints:\n    - h\n    - h:99999\n    - ftp://h:1\n    - https://h:2\n    - http://u:hunter2@h:3\n"
    + "    - h:4/path\n    - H:5\n    - http://h:5/\n    - '[::1]'\n    - 2379\n",
    "plain endpoint with ca": OK + "etcd: {endpoints: ['http://h:1'], ca: /etc/x.pem}\n",
    "half of TLS": OK + "etcd: {endpoints: [h:1], cert: /etc/x.pem}\n",
    "half of a login": OK + "etcd: {endpoints: [h:1], user: pgha}\n",
    "generate for a foreign store": OK + "etcd: {endpoints: [h:1], user: pgha, password: generate}\n",
    "a password in clear": OK + "etcd: {user: pgha, password: hunter2}\n",
    "a password as number": OK + "etcd: {user: pgha, password: 12345}\n",
    "a password as list": OK + "etcd: {user: pgha, password: [hunter2]}\n",
    "a strange secret": OK + "etcd: {user: pgha, password: 'env:a b'}\n",
    "a relative secret": OK + "etcd: {user: pgha, password: file:secret}\n",
}
SETTINGS = {
    "settings of pgha": _parameters(
        "port: 1",
        "data_directory: /x",
        "hba_file: x",
        "primary_conninfo: 'host=h password=hunter2'",
        "synchronous_standby_names: '*'",
        "restart_after_crash: on",
        "recovery_target_time: x",
        "restore_command: cp",
        "include_dir: x",
    ),
    "settings that lose commits": _parameters(
        "fsync: off",
        "full_page_writes: false",
        "synchronous_commit: local",
        "wal_level: minimal",
        "archive_mode: always",
        "data_sync_retry: on",
    ),
    "settings that are none": _parameters(
        "TimeZone: UTC", "max-connections: 1", "work_mem: [1]", "jit: {a: b}", "x:", "'a b': 1", '"a\\nb": 1'
    ),
    "a setting with a line end": _parameters('application_name: "a\\nfsync = off"'),
    "access": _hba(
        "host all all 0.0.0.0/0 trust",
        "local all all trust",
        'host all all 192.0.2.0 255.255.255.0 "trust"',
        "local all all",
        "include x",
        "host all all 0.0.0.0/0 scram-sha-265",
        '"local all all peer\\nlocal all all trust"',
        "'local all all peer \\'",
        "'host \"a all 0.0.0.0/0 md5'",
        "'# a comment'",
        "''",
        "{a: b}",
    ),
    "access as text": OK + "postgres: {hba: local all all peer}\n",
    "copies": OK + "ha: {copies: 3}\n",
    "copies below nothing": OK + "ha: {copies: -1}\n",
    "a size without a unit": OK + "ha: {max_lag: 1000000}\n",
    "a size in words": OK + "ha: {max_lag: 16 megabytes}\n",
    "a size beyond reason": OK + "ha: {max_lag: 2TB}\n",
    "copies that nobody waits for": OK + "ha: {copies: 1, durability: async}\n",
    "strict alone": C + N1 + "ha: {durability: strict}\n",
    "root": OK + "ssh: {user: 'a;b'}\nlocal: {dir: /srv/demo, user: root}\n",
    "local and far away": OK + "local: {dir: /srv/demo, user: postgres}\n",
    "local, one port": C
    + "nodes: {a: 127.0.0.1, b: 127.0.0.1, c: 127.0.0.1}\nlocal: {dir: /srv/demo, user: postgres}\n",
    "local, too long": C + f"nodes: {{a: 127.0.0.1}}\nlocal: {{dir: /srv/{'x' * 90}, user: postgres}}\n",
    "local, outside": C
    + "nodes: {a: {host: 127.0.0.1, data_dir: /srv/other/a}}\nlocal: {dir: /srv/demo, user: postgres}\n",
    "local, half": C + "nodes: {a: 127.0.0.1}\nlocal: {dir: srv}\n",
}
BAD = SYNTAX | EMPTY | KEYS | TYPES | NODES | NAMES | PATHS | STORE | SETTINGS
RAW = {
    "no bytes": b"",
    "blanks": b" \n\r\n",
    "latin-1": "cluster: caf\xe9\n".encode("latin-1"),
    "latin-1 after a byte order mark": b"\xef\xbb\xbfa: 1\nb: \xe9\n",
    "UTF-16": "cluster: shop\n".encode("utf-16"),
    "a NUL": b"cluster: shop\nnodes: \0\n",
    "a program": b"\x7fELF\x02\x01\x01\x00\x00",
    "too large": b"#" * 1_000_001,
}
