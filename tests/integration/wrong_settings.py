"""Settings that make no sense, and what is said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
LISTEN = (
    "listen: must be ADDRESS:PORT with a port from 0 to 65535, 127.0.0.1:50051 say, "
    "or [::1]:50051 in IPv6, not "
)
MODELS = "models: must be a directory that is there and that this user may read"
PROVIDERS = "providers: must be cpu, cuda, or both with a comma, each once: cuda,cpu say"
BATCH = "max_batch: must be a whole number from 1 to 4294967295"
MESSAGE = "max_message_bytes: must be a whole number of bytes from 65536 to 2147483647"
DRAIN = "drain_seconds: must be a number of seconds from 0 to 3600"
TOML = "config: must be a TOML file"
A_LINE = "; a line is max_batch = 256 say"


@dataclass(frozen=True)
class Wrong:
    """What a server is started with, and what it says."""

    line: str
    """All that it writes, after its name."""
    flags: str = ""
    """With {} where the directory stands that ``places`` makes."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment, without their prefix."""
    file: bytes | None = None
    """Content of the file that --config names."""
    status: int = 2
    as_nobody: bool = False
    """Whether permissions matter, which root does not heed."""


WRONG = {
    # Addresses and ports.
    "no port": Wrong(LISTEN + "'127.0.0.1'", "--listen 127.0.0.1"),
    "empty port": Wrong(LISTEN + "'127.0.0.1:'", "--listen 127.0.0.1:"),
    "negative port": Wrong(LISTEN + "'127.0.0.1:-1'", "--listen 127.0.0.1:-1"),
    "port too large": Wrong(LISTEN + "'127.0.0.1:65536'", "--listen 127.0.0.1:65536"),
    "port that is no number": Wrong(LISTEN + "'127.0.0.1:http'", "--listen 127.0.0.1:http"),
    "port in other digits": Wrong(LISTEN + "'127.0.0.1:٥٠'", "--listen 127.0.0.1:٥٠"),
    "no address": Wrong(LISTEN + "':50051'", "--listen :50051"),
    "empty": Wrong(LISTEN + "''", "--listen="),
    "IPv6 without brackets": Wrong(LISTEN + "'::1:50051'", "--listen ::1:50051"),
    "brackets around no IPv6 address": Wrong(LISTEN + "'[host]:50051'", "--listen [host]:50051"),
    "bracket that stays open": Wrong(LISTEN + "'[::1:50051'", "--listen [::1:50051"),
    "URL": Wrong(LISTEN + "'http://127.0.0.1:50051'", "--listen http://127.0.0.1:50051"),
    "Unix socket": Wrong(LISTEN + "'unix:/run/a.sock'", "--listen unix:/run/a.sock"),
    "address of a wrong kind": Wrong(LISTEN.removesuffix(", not "), file=b"listen = 50051"),
    "address that is an endless number": Wrong(
        LISTEN.removesuffix(", not "), file=b"listen = 0x" + b"f" * 50_000
    ),
    "long address": Wrong(
        LISTEN + f"'{'a' * 36}...'", variables={"LISTEN": "a" * 100_000 + "\n\n"}
    ),
    "name that nobody has": Wrong(
        "listen: no address is known for nobody.invalid; give one of this machine, 127.0.0.1 say",
        "--listen nobody.invalid:50051",
        status=1,
    ),
    "name that none can have": Wrong(
        f"listen: no address is known for {'a' * 64}; give one of this machine, 127.0.0.1 say",
        f"--listen {'a' * 64}:50051",
        status=1,
    ),
    "address of another machine": Wrong(
        "listen: 192.0.2.1 is no address of this machine; 127.0.0.1 is one, and 0.0.0.0 is all",
        "--listen 192.0.2.1:50051",
        status=1,
    ),
    # Directories and files.
    "models that are not there": Wrong(MODELS, "--models {}/nothing"),
    "models that are a file": Wrong(MODELS, "--models {}/file"),
    "models below a file": Wrong(MODELS, "--models {}/file/models"),
    "models without a name": Wrong(MODELS, "--models="),
    "models with a name that is too long": Wrong(MODELS, "--models " + "a" * 5000),
    "models with a line break": Wrong(MODELS, variables={"MODELS": "a\nb"}),
    "models of a wrong kind": Wrong(MODELS, file=b"models = 3"),
    "models that may not be read": Wrong(MODELS, "--models {}/locked", as_nobody=True),
    "models that may be listed only": Wrong(MODELS, "--models {}/listed", as_nobody=True),
    "models below what may not be read": Wrong(MODELS, "--models {}/locked/a", as_nobody=True),
    "config that is not there": Wrong(TOML + " that is there", "--config {}/nothing"),
    "config that is a directory": Wrong(TOML + " that is there", "--config {}"),
    "config without a name": Wrong(TOML + " that is there", variables={"CONFIG": ""}),
    "config that is endless": Wrong(TOML + " that is there", "--config /dev/zero"),
    "config that may not be read": Wrong(
        TOML + " that this user may read", "--config {}/secret", as_nobody=True
    ),
    "config that is huge": Wrong(TOML + " of at most 65536 bytes", file=b"#" * 65_537),
    "config that is no UTF-8": Wrong(TOML + " in UTF-8", file=b"listen = '\xff'"),
    "config that is no TOML": Wrong(
        TOML + ", which it is not at line 2, column 10" + A_LINE, file=b"\nmax_batch: 3"
    ),
    "config that ends too early": Wrong(
        TOML + ", which it is not at end of document" + A_LINE, file=b"listen = [1,"
    ),
    "config that is nested without end": Wrong(TOML + A_LINE, file=b"listen = " + b"[" * 50_000),
    "number without end": Wrong(TOML + A_LINE, file=b"max_batch = 1" + b"0" * 10_000),
    "config in the config": Wrong(
        "config: must be a flag or an environment variable, not in the file",
        file=b'config = "b.toml"',
    ),
    "key twice": Wrong(
        TOML + ", which it is not at line 2, column 14" + A_LINE,
        file=b"max_batch = 1\nmax_batch = 2\n",
    ),
    "unknown key": Wrong(
        "max_bach: there is no such setting; did you mean max_batch?", file=b"max_bach = 3"
    ),
    "unknown key like none": Wrong(
        "workers: there is no such setting; --help shows all", file=b"workers = 3"
    ),
    "key with a line break": Wrong(
        "'a\\nb': there is no such setting; --help shows all", file=b'"a\\nb" = 3'
    ),
    "table": Wrong("server: there is no such setting; --help shows all", file=b"[server]\na=1"),
    "table for a number": Wrong(BATCH, file=b"[max_batch]\na = 1"),
    "list for a number": Wrong(BATCH, file=b"max_batch = [1]"),
    # Variables.
    "unknown variable": Wrong(
        "ATTENTION_SERVER_MAX_WORKS is no setting; did you mean ATTENTION_SERVER_MAX_WORK?",
        variables={"MAX_WORKS": "3"},
    ),
    "unknown variable like none": Wrong(
        "ATTENTION_SERVER_PORTAL is no setting; --help shows all", variables={"PORTAL": "1"}
    ),
    "unknown variable like config": Wrong(
        "ATTENTION_SERVER_CONFIGS is no setting; did you mean ATTENTION_SERVER_CONFIG?",
        variables={"CONFIGS": "a.toml"},
    ),
    "unknown variables": Wrong(
        "ATTENTION_SERVER_A is no setting; --help shows all", variables={"B": "", "A": ""}
    ),
    "variable without a name": Wrong(
        "ATTENTION_SERVER_ is no setting; --help shows all", variables={"": "1"}
    ),
    "variable with a line break": Wrong(
        "'ATTENTION_SERVER_A\\nB' is no setting; --help shows all", variables={"A\nB": "1"}
    ),
    "long variable": Wrong(
        f"'ATTENTION_SERVER_{'A' * 19}...' is no setting; --help shows all",
        variables={"A" * 100_000: "1"},
    ),
    "variable with a port, which Kubernetes' is not": Wrong(
        "ATTENTION_SERVER_PORT is no setting; --help shows all", variables={"PORT": "50051"}
    ),
    # Numbers.
    "zero": Wrong(BATCH + ", not '0'", "--max-batch 0"),
    "negative": Wrong(BATCH + ", not '-1'", "--max-batch -1"),
    "too large": Wrong(BATCH + ", not '4294967296'", "--max-batch 4294967296"),
    "fraction": Wrong(BATCH + ", not '1.5'", variables={"MAX_BATCH": "1.5"}),
    "word": Wrong(BATCH + ", not 'many'", variables={"MAX_BATCH": "many"}),
    "nothing": Wrong(BATCH + ", not ''", variables={"MAX_BATCH": ""}),
    "boolean for a number": Wrong(BATCH, file=b"max_batch = true"),
    "fraction in the file": Wrong(BATCH, file=b"max_batch = 1.5"),
    "infinity for a whole number": Wrong(BATCH, file=b"max_batch = inf"),
    "unit": Wrong(MESSAGE + ", not '64MB'", "--max-message-bytes 64MB"),
    "message larger than gRPC has": Wrong(
        MESSAGE + ", not '2147483648'", "--max-message-bytes 2147483648"
    ),
    "not a number": Wrong(DRAIN + ", not 'nan'", "--drain-seconds nan"),
    "infinity": Wrong(DRAIN + ", not 'inf'", "--drain-seconds inf"),
    "time in minutes": Wrong(DRAIN + ", not '5m'", "--drain-seconds 5m"),
    "time too long": Wrong(DRAIN, file=b"drain_seconds = 3601"),
    "no engine": Wrong(
        "engine_threads: must be a whole number from 1 to 256, not '0'", "--engine-threads 0"
    ),
    "work beyond 64 bits": Wrong(
        "max_work: must be a whole number from 1 to 9223372036854775807, not '9223372036854775808'",
        "--max-work 9223372036854775808",
    ),
    "queue without room": Wrong(
        "max_waiting_requests: must be a whole number from 1 to 4294967295, not '0'",
        "--max-waiting-requests 0",
    ),
    "bytes beyond 64 bits": Wrong(
        "max_stream_bytes: must be a whole number of bytes from 65536 to 9223372036854775807",
        file=b"max_stream_bytes = 0x" + b"f" * 50_000,
    ),
    # Choices.
    "neither true nor false": Wrong(
        "demo: must be true or false, not 'perhaps'", variables={"DEMO": "perhaps"}
    ),
    "log level that there is not": Wrong(
        "log_level: must be debug, info, warning or error, not 'loud'", "--log-level loud"
    ),
    "unknown provider": Wrong(PROVIDERS, "--providers tpu"),
    "provider twice": Wrong(PROVIDERS, "--providers cpu,cpu"),
    "no provider": Wrong(PROVIDERS, "--providers="),
    "providers as a list": Wrong(PROVIDERS, file=b'providers = ["cuda", "tpu"]'),
    # Flags.
    "unknown flag": Wrong("there is no flag '--max-bach'; did you mean --max-batch?", "--max-bach"),
    "unknown flag like none": Wrong("there is no flag '-x'; --help shows all", "-x"),
    "flag cut short": Wrong("there is no flag '--list'; did you mean --listen?", "--list=a:1"),
    "flag twice": Wrong(
        "--max-batch: must be given once, not twice", "--max-batch 1 --max-batch 1"
    ),
    "switch on and off": Wrong(
        "--demo/--no-demo: must be given once, not twice", "--demo --no-demo"
    ),
    "flag without a value": Wrong(
        "--max-batch: must be given with a value; --help shows all", "--max-batch"
    ),
    "switch with a value": Wrong("--demo takes no value: --demo or --no-demo", "--demo=no"),
    "switch with a word": Wrong("--demo takes no value: --demo or --no-demo", "--demo yes"),
    "switch that is off with a word": Wrong(
        "--reflection takes no value: --reflection or --no-reflection",
        "--max-batch 1 --no-reflection 1 --demo",
    ),
    "version with a value": Wrong("--version takes no value: --version", "--version=1"),
    "flag near to none but for its dashes": Wrong(
        "there is no flag '--debug'; --help shows all", "--debug"
    ),
    "unknown command": Wrong(
        "there is no command 'start': check-config and check-health are commands, "
        "and without one it serves",
        "start",
    ),
    "command after a setting": Wrong(
        "'check-config' is no setting: a command stands first, and settings are flags, "
        "--listen 127.0.0.1:50051 say",
        "--max-batch 1 check-config",
    ),
    # Contradictions.
    "stream smaller than a message": Wrong(
        "max_stream_bytes: must be at least max_message_bytes, 67108864, not 65536",
        "--max-stream-bytes 65536",
    ),
    "message larger than a stream": Wrong(
        "max_stream_bytes: must be at least max_message_bytes, 2000000000, not 1073741824",
        file=b"max_message_bytes = 2000000000",
    ),
    "several at once": Wrong(
        f"{BATCH}, not '0'; max_length: must be a whole number from 1 to 2147483647, not '0'",
        "--max-batch 0 --max-length 0",
    ),
}
if NO_CUDA:
    WRONG["provider required that is not here"] = Wrong(
        "CUDA is not in this onnxruntime; use an environment without it and "
        "pip install 'attention-service[server-gpu]'",
        "--providers cuda,cpu --require-provider",
        status=1,
    )
