"""Opens a page to explore attention, with a server of its own: ``python -m examples.explore``."""

from __future__ import annotations

import argparse
from pathlib import Path

from attention_client.explore.app import Example
from attention_client.explore.errors import ExploreError
from attention_client.explore.serving import explore
from attention_server import EmbeddedServer

SENTENCE = "今天天气真好，我想出去玩"
DEMO = Path(__file__).parents[1] / "demo"


def main() -> None:
    """Serves the demo's model and the page until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.explore", description=__doc__)
    parser.add_argument("--models", type=Path, help="directory of models, beside the demo's")
    parser.add_argument("--text", type=Path, default=DEMO, help="directory of texts' embeddings")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; a free one by default")
    parser.add_argument("--no-browser", action="store_true", help="say the address, open nothing")
    arguments = parser.parse_args()

    example = Example(SENTENCE, SENTENCE.index("玩")) if arguments.text == DEMO else None
    try:
        with EmbeddedServer(arguments.models) as server:
            explore(
                server.address,
                text=arguments.text,
                port=arguments.port,
                browser=not arguments.no_browser,
                example=example,
            )
    except ExploreError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
