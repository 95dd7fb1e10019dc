"""Names, versions, ids and page tokens that are none, and bytes that are no message."""

from __future__ import annotations

import grpc

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import sdpa

_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_GOOD = sdpa().SerializeToString()

_NO_NAMES = {
    "empty": "",
    "of dots": "..",
    "that leaves the directory": "../../etc/passwd",
    "with a slash": "layer/2",
    "with a backslash": "..\\layer",
    "with a NUL": "sdpa\0",
    "with a line end": "sdpa\n",
    "with a space": "sd pa",
    "with a letter that only looks like one of ASCII": "sdp\u0430",
    "with a character of another script": "注意",
    "that starts with a dot": ".layer",
    "of 65 characters": "a" * 65,
    "of a megabyte": "a" * 2**20,
}
_NO_VERSIONS = {
    "0": "0",
    "with a leading zero": "01",
    "negative": "-1",
    "with a point": "1.0",
    "of letters": "latest",
    "of full-width digits": "１",
    "with a space": " 1",
    "that leaves the directory": "../1",
    "of 19 digits": "1" * 19,
}
_NO_MESSAGES = {
    "a tag without its value": b"\x0a",
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x07abc",
    "an unfinished number": b"\xff",
    "field number 0": b"\x00\x00",
    "a group that never began": b"\x0c",
    "text that is not UTF-8": b"\x0a\x02\xc3\x28",
}
_RPCS = {
    # Of each, a message that takes text in field 1.
    "Attend": "AttendRequest",
    "GetModel": "GetModelRequest",
}

ROWS = [
    *refused(
        Reason.INVALID_NAME,
        "model",
        {f"model {what}": sdpa(model=name) for what, name in _NO_NAMES.items()},
    ),
    *refused(
        Reason.INVALID_NAME,
        "model",
        {
            f"GetModel of a model {what}": pb.GetModelRequest(model=name)
            for what, name in _NO_NAMES.items()
        },
        rpc="GetModel",
    ),
    *refused(
        Reason.INVALID_NAME,
        "model_version",
        {f"version {what}": sdpa(model_version=version) for what, version in _NO_VERSIONS.items()},
    ),
    *refused(
        Reason.INVALID_NAME,
        "model_version",
        {"GetModel of version 0": pb.GetModelRequest(model="sdpa", model_version="0")},
        rpc="GetModel",
    ),
    *refused(
        Reason.INVALID_NAME,
        "request_id",
        {
            "request_id of 129 bytes": sdpa(request_id="x" * 129),
            "request_id of 129 bytes in 43 characters": sdpa(request_id="語" * 43),
        },
    ),
    *refused(
        Reason.MODEL_NOT_FOUND,
        (),
        {
            "model that is not there": sdpa(model="nobody"),
            "model in capitals": sdpa(model="SDPA"),
        },
        code=_NOT_FOUND,
    ),
    *refused(
        Reason.MODEL_NOT_FOUND,
        (),
        {"GetModel of a model that is not there": pb.GetModelRequest(model="nobody")},
        code=_NOT_FOUND,
        rpc="GetModel",
    ),
    *refused(
        Reason.VERSION_NOT_FOUND,
        (),
        {
            "version that sdpa does not have": sdpa(model_version="2"),
            "version that a model does not have": sdpa(model="layer", model_version="3"),
            "version of 18 digits": sdpa(model_version="9" * 18),
        },
        code=_NOT_FOUND,
    ),
    *refused(
        Reason.VERSION_NOT_FOUND,
        (),
        {
            "GetModel of a version that is not there": pb.GetModelRequest(
                model="layer", model_version="1"
            )
        },
        code=_NOT_FOUND,
        rpc="GetModel",
    ),
    *refused(
        Reason.OUT_OF_RANGE,
        "page_size",
        {
            "page_size negative": pb.ListModelsRequest(page_size=-1),
            "page_size -2^31": pb.ListModelsRequest(page_size=-(2**31)),
        },
        rpc="ListModels",
    ),
    *refused(
        Reason.INVALID_NAME,
        "page_token",
        {
            "page_token that no page gave": pb.ListModelsRequest(page_token="nobody"),
            "page_token of a megabyte": pb.ListModelsRequest(page_token="x" * 2**20),
        },
        rpc="ListModels",
    ),
    *refused(
        Reason.MALFORMED_MESSAGE,
        (),
        {f"Attend with {what}": data for what, data in _NO_MESSAGES.items()},
    ),
    *refused(Reason.MALFORMED_MESSAGE, (), {"Attend with a good request cut short": _GOOD[:-1]}),
    *(
        row
        for rpc in ("ListModels", "GetModel", "GetServerInfo")
        for row in refused(
            Reason.MALFORMED_MESSAGE, (), {f"{rpc} with an unfinished number": b"\xff"}, rpc=rpc
        )
    ),
    *refused(
        Reason.NOT_IMPLEMENTED,
        (),
        {
            "AnalyzeHeads": pb.AnalyzeHeadsRequest(attend=sdpa()),
            "AnalyzeHeads with bytes that are no message": b"\xff",
        },
        code=grpc.StatusCode.UNIMPLEMENTED,
        rpc="AnalyzeHeads",
    ),
]
