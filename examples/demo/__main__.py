"""Shows what one character attends to, step by step: ``python -m examples.demo``.

Starts the real server in this process, asks it over gRPC, and shows what it answers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from attention_client import AttentionClient
from attention_client.explore.characters import CharacterEmbedding
from attention_server import EmbeddedServer

from .report import Report

SENTENCE = "今天天气真好，我想出去玩"
LAST, MIDDLE = SENTENCE.index("玩"), SENTENCE.index("气")
SHORTER = "我们去公园散步吧"
ASKING = "天气好就去玩"


def main() -> None:
    """Runs the five parts of the demo and writes the pictures."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path("demo/attention.png"))
    parser.add_argument("--row", type=Path, default=Path("demo/row.png"))
    arguments = parser.parse_args()

    started = time.perf_counter()
    console = Console(highlight=False)
    console.width = min(console.width, 88)
    embedding = CharacterEmbedding.load(Path(__file__).parent)
    with EmbeddedServer() as server, AttentionClient(server.address) as client:
        console.print(f"An attention server in this process, at {server.address}", style="dim")
        report = Report(console, client, embedding)
        report.three_steps(SENTENCE, LAST)
        report.causal_mask(SENTENCE, MIDDLE)
        report.padded_batch(SENTENCE, SHORTER)
        report.cross_attention(ASKING, SENTENCE)
        report.pictures(SENTENCE, LAST, arguments.picture, arguments.row)
    console.print(f"\nDone in {time.perf_counter() - started:.1f} s.", style="dim")


if __name__ == "__main__":
    main()
