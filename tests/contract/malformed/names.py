"""Names, versions, ids and page tokens that are none."""

from __future__ import annotations

import grpc

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import refused
from tests.messages import sdpa

_NOT_FOUND = grpc.StatusCode.NOT_FOUND

_NO_NAMES = {
    "empty": "",
    "of one dot": ".",
    "of two dots": "..",
    "of dots": "......",
    "that leaves the directory": "../../etc/passwd",
    "that leaves it at the end": "sdpa/..",
    "that leaves it and comes back": "../models/layer",
    "that leaves it in percents": "..%2f..%2fetc%2fpasswd",
    "that leaves it in percents of percents": "..%252f..%252fetc",
    "that leaves it with percent dots": "%2e%2e/etc",
    "that leaves it with doubled dots": "....//....//etc",
    "that leaves it with backslashes": "..\\..\\windows\\win.ini",
    "that leaves it with both slashes": "..\\/etc",
    "that leaves it with a fraction slash": "..\u2044etc",
    "that leaves it with a division slash": "..\u2215etc",
    "that leaves it with full-width signs": "\uff0e\uff0e\uff0fetc",
    "that leaves it with a one-dot leader": "\u2024\u2024/etc",
    "that leaves it after a NUL": "layer\0/../../etc",
    "of a path from the root": "/etc/passwd",
    "of a path at home": "~/models",
    "of a drive": "C:\\models",
    "of another machine": "\\\\server\\share",
    "of a device": "\\\\.\\NUL",
    "of a URL": "file:///etc/passwd",
    "with a slash": "layer/2",
    "with a slash at the end": "layer/",
    "with a backslash": "layer\\2",
    "with a colon": "layer:2",
    "with a NUL": "sdpa\0",
    "with a NUL before it": "\0sdpa",
    "with a line end": "sdpa\n",
    "with a line end of two": "sdpa\r\n",
    "with a line end of Unicode": "sdpa\u2028",
    "with a space": "sd pa",
    "with a space before it": " sdpa",
    "with a space after it": "sdpa ",
    "with a tab": "sdpa\t",
    "with a space of no width": "sd\u200bpa",
    "with a space that does not break": "sdpa\u00a0",
    "with a byte order mark": "\ufeffsdpa",
    "with an escape": "\x1b[31msdpa",
    "with a delete": "sdpa\x7f",
    "of a letter that only looks like one of ASCII": "sdp\u0430",
    "of full-width letters": "\uff53\uff44\uff50\uff41",
    "of a letter and what combines with it": "sdpa\u0301",
    "of a letter with its accent": "sdp\u00e1",
    "of a dotless i": "m\u0131n\u0131",
    "written from the right": "\u202esdpa",
    "of another script": "注意",
    "of a script from the right": "שלום",
    "of an emoji": "🙂",
    "of an emoji of many parts": "👩\u200d👩\u200d👧",
    "with a percent sign": "%s%n%x",
    "with braces": "{model}",
    "with a dollar": "$HOME",
    "with a quote": "sdpa'--",
    "with an asterisk": "*",
    "with a plus": "sd+pa",
    "that starts with a dot": ".layer",
    "that starts with a dash": "--models",
    "that starts with an underscore": "_layer",
    "of 65 characters": "a" * 65,
}
_LARGE_NAMES = {
    "of a megabyte": "a" * 2**20,
    "of a megabyte of emoji": "🙂" * 2**18,
    "of a megabyte of steps upwards": "../" * (2**20 // 3),
}
_NO_VERSIONS = {
    "0": "0",
    "00": "00",
    "-0": "-0",
    "with a leading zero": "01",
    "with many leading zeros": "0" * 1000 + "1",
    "negative": "-1",
    "with a plus": "+1",
    "with a point": "1.0",
    "with a point alone": "1.",
    "with an exponent": "1e0",
    "in hexadecimal": "0x1",
    "with an underscore": "1_0",
    "with a comma": "1,000",
    "of letters": "latest",
    "not a number": "nan",
    "infinite": "inf",
    "of full-width digits": "１",
    "of Arabic digits": "\u0661",
    "of a superscript": "\u00b9",
    "of a circled digit": "①",
    "of a Roman numeral": "Ⅰ",
    "of a Chinese digit": "一",
    "with a space": " 1",
    "with a line end": "1\n",
    "with a NUL": "1\0",
    "with a space of no width": "1\u200b",
    "that leaves the directory": "../1",
    "that leaves it at the end": "1/..",
    "of dots": "..",
    "of 19 digits": "1" * 19,
    "of 2^64": str(2**64),
    "of 60,000 digits": "9" * 60_000,
}
_LONG_IDS = {
    "129 bytes": "x" * 129,
    "129 bytes in 43 characters": "語" * 43,
    "132 bytes in 33 characters": "🙂" * 33,
    "129 NULs": "\0" * 129,
    "a megabyte": "x" * 2**20,
}

ROWS = [
    *refused(
        Reason.INVALID_NAME,
        "model",
        {f"model {what}": sdpa(model=name) for what, name in (_NO_NAMES | _LARGE_NAMES).items()},
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
        Reason.MESSAGE_LIMIT,
        (),
        {
            f"GetModel of a model {what}": pb.GetModelRequest(model=name)
            for what, name in _LARGE_NAMES.items()
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
        {
            f"GetModel of version {what}": pb.GetModelRequest(model="sdpa", model_version=version)
            for what, version in _NO_VERSIONS.items()
        },
        rpc="GetModel",
    ),
    *refused(
        Reason.INVALID_NAME,
        "request_id",
        {
            f"request_id of {what}": sdpa(request_id=request_id)
            for what, request_id in _LONG_IDS.items()
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
            "page_size negative beside a token": pb.ListModelsRequest(
                page_size=-1, page_token="nobody"
            ),
        },
        rpc="ListModels",
    ),
    *refused(
        Reason.INVALID_NAME,
        "page_token",
        {
            "page_token that no page gave": pb.ListModelsRequest(page_token="nobody"),
            "page_token of another spelling": pb.ListModelsRequest(page_token="layer/02"),
            "page_token of a name alone": pb.ListModelsRequest(page_token="layer"),
            "page_token of a name in capitals": pb.ListModelsRequest(page_token="LAYER/2"),
            "page_token that leaves the directory": pb.ListModelsRequest(page_token="../../etc"),
            "page_token of a space": pb.ListModelsRequest(page_token=" "),
            "page_token with a NUL": pb.ListModelsRequest(page_token="layer/2\0"),
            "page_token of 64,000 bytes": pb.ListModelsRequest(page_token="x" * 64_000),
        },
        rpc="ListModels",
    ),
    *(
        row
        for rpc in ("ListModels", "GetModel", "GetServerInfo")
        for row in refused(
            Reason.MALFORMED_MESSAGE, (), {f"{rpc} with an unfinished number": b"\xff"}, rpc=rpc
        )
    ),
]
