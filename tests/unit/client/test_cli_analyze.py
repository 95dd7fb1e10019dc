from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_client.cli import main
from attention_service.tensor import decode
from attention_service.v1 import attention_pb2 as pb

Serve = Callable[..., str]

QUERY = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
ANSWER = pb.AnalyzeHeadsResponse(
    model="m",
    model_version="2",
    heads=[
        pb.HeadAnalysis(
            head=0,
            rows=4,
            entropy=0.5,
            normalized_entropy=0.25,
            max_weight=0.875,
            mean_distance=12.5,
            self_share=0.125,
            first_share=1 / 3,
            local_share=0.75,
            pattern=pb.HEAD_PATTERN_RELATION,
            relation="nsubj",
            relation_shares={"nsubj": 0.625},
        ),
        pb.HeadAnalysis(head=1, rows=0),
    ],
    fully_masked_rows=3,
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("q.npy", QUERY)
    Path("nsubj.csv").write_text("query,key\n1,0\n3,2\n")
    return tmp_path


def request_sent(serve: Serve, *arguments: str) -> pb.AnalyzeHeadsRequest:
    requests: list[pb.AnalyzeHeadsRequest] = []

    def handler(request: pb.AnalyzeHeadsRequest, _: Any) -> pb.AnalyzeHeadsResponse:
        requests.append(request)
        return ANSWER

    server = serve(AnalyzeHeads=handler)
    assert main(["analyze", "m", "--query", "q.npy", *arguments, "--server", server]) == 0
    (request,) = requests
    return request


@pytest.mark.usefixtures("files")
def test_the_table_has_a_line_a_head(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    request_sent(serve, "--relation", "nsubj=nsubj.csv")

    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "HEAD PATTERN ROWS ENTROPY NORMALIZED MAX DISTANCE SELF PREVIOUS NEXT FIRST LOCAL nsubj",
        "0 relation nsubj 4 0.500 0.250 0.875 12.500 0.125 - - 0.333 0.750 0.625",
        "1 none 0 - - - - - - - - - -",
    ]
    assert len({len(line) for line in lines}) == 1  # columns are flush right


@pytest.mark.usefixtures("files")
def test_json_has_every_figure_as_it_came(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    request_sent(serve, "--json")

    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["model_version"], told["fully_masked_rows"]) == ("m", "2", 3)
    assert told["heads"][0]["first_share"] == 1 / 3
    assert told["heads"][0]["relation_shares"] == {"nsubj": 0.625}
    assert told["heads"][1]["entropy"] is None


@pytest.mark.parametrize(
    "text",
    [
        "1,0\n3,2\n",
        "query,key\n1,0\n3,2\n",
        "\ufeffQuery, Key\r\n1,0\r\n\r\n3,2\r\n",
        "0,1,0\n0,3,2\n",
        "word,key,query,sequence\nthe,0,1,0\ncat,2,3,0\n",
    ],
    ids=["bare", "named", "of a spreadsheet", "with sequence", "others too"],
)
@pytest.mark.usefixtures("files")
def test_relations_are_read_from_files(serve: Serve, text: str) -> None:
    Path("pairs.csv").write_text(text, encoding="utf-8", newline="")

    request = request_sent(
        serve, "--relation", "a=pairs.csv", "--relation", "nsubj=nsubj.csv", "--num-heads", "2"
    )

    np.testing.assert_array_equal(decode(request.attend.query), QUERY)
    assert request.attend.heads.num_heads == 2
    assert [relation.name for relation in request.relations] == ["a", "nsubj"]
    for relation in request.relations:
        assert list(relation.pairs) == [pb.Pair(query=1, key=0), pb.Pair(query=3, key=2)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "pairs.csv: No such file or directory"),
        (b"1,0\n\n3,x\n", "pairs.csv, line 3: must be whole numbers query,key or sequence,query,"),
        (b"1,0\nquery,key\n", "pairs.csv, line 2: must be whole numbers"),
        (b"1,0\n3\n", "pairs.csv, line 2: must be whole numbers"),
        (b"1,0,0,0\n", "pairs.csv, line 1: must be whole numbers"),
        (b"from,to\n1,0\n", "pairs.csv, line 1: must be whole numbers"),
        (b"key,query\n1\n", "pairs.csv, line 2: must be whole numbers"),
        (b"\xff\xfe1", "pairs.csv: no .csv file"),
        (b"1,9\n", "relations['a'][0] key: must be 0 to 3, not 9"),
    ],
    ids=[
        "none",
        "no number",
        "named too late",
        "one",
        "four",
        "other names",
        "too short",
        "no text",
        "no key",
    ],
)
@pytest.mark.usefixtures("files")
def test_a_file_without_pairs_is_one_line_and_exit_code_1(
    serve: Serve, capsys: pytest.CaptureFixture[str], content: bytes | None, says: str
) -> None:
    if content is not None:
        Path("pairs.csv").write_bytes(content)
    server = serve(AnalyzeHeads=lambda *_: ANSWER)
    arguments = ["analyze", "m", "--query", "q.npy", "--relation", "a=pairs.csv"]

    assert main([*arguments, "--server", server]) == 1

    error = capsys.readouterr().err
    assert error.startswith("attention: ")
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--relation", "nsubj.csv"], "must be name=pairs.csv, not 'nsubj.csv'"),
        (["--relation", "a=x.csv", "--relation", "a=y.csv"], "a must be given once"),
    ],
)
def test_relations_that_cannot_be_meant_are_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["analyze", "m", "--query", "q.npy", *arguments])

    assert caught.value.code == 2
    assert says in capsys.readouterr().err
