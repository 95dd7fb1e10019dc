from __future__ import annotations

import inspect

import pytest

import attention_client
from attention_client import (
    AsyncAttentionClient,
    AttentionClient,
)

METHODS = [
    "attend",
    "attend_many",
    "analyze_heads",
    "ablate_heads",
    "list_models",
    "get_model",
    "server_info",
]


def test_the_package_exports_these_names() -> None:
    assert attention_client.__all__ == [
        "AblationResult",
        "AsyncAttentionClient",
        "AttendCall",
        "AttendResult",
        "AttentionClient",
        "AttentionError",
        "AttentionSettings",
        "ClientClosedError",
        "DeadlineExceededError",
        "Execution",
        "FieldViolation",
        "HeadAnalysis",
        "HeadAnalysisResult",
        "InternalServerError",
        "InvalidRequestError",
        "LimitExceededError",
        "Limits",
        "Model",
        "ModelNotFoundError",
        "NonFiniteError",
        "NotImplementedByServerError",
        "PermissionDeniedError",
        "ProtocolError",
        "Reason",
        "RequestCancelledError",
        "RequestTooLargeError",
        "RetryPolicy",
        "ScoresSpec",
        "ServerBusyError",
        "ServerInfo",
        "ServerUnavailableError",
        "UnauthenticatedError",
        "WeightsSpec",
        "from_torch_attn_mask",
        "from_torch_key_padding_mask",
    ]
    assert all(hasattr(attention_client, name) for name in attention_client.__all__)


@pytest.mark.parametrize("client", [AttentionClient, AsyncAttentionClient])
def test_both_clients_have_the_same_methods(client: type) -> None:
    public = [name for name in dir(client) if not name.startswith("_")]

    assert public == sorted([*METHODS, "close"])


def test_both_clients_are_made_alike() -> None:
    assert inspect.signature(AttentionClient) == inspect.signature(AsyncAttentionClient)


@pytest.mark.parametrize("method", METHODS)
def test_both_clients_take_and_document_the_same(method: str) -> None:
    blocking, awaiting = (
        getattr(client, method) for client in (AttentionClient, AsyncAttentionClient)
    )

    assert inspect.signature(blocking) == inspect.signature(awaiting)
    assert blocking.__doc__ == awaiting.__doc__
    assert "timeout" in blocking.__doc__
    assert inspect.iscoroutinefunction(awaiting) or method == "attend_many"  # an iterator


@pytest.mark.parametrize("method", METHODS)
def test_every_keyword_of_a_method_is_documented(method: str) -> None:
    function = getattr(AttentionClient, method)
    assert function.__name__ == method
    keywords = list(inspect.signature(function).parameters)[1:]

    for keyword in keywords:
        assert f"    {keyword}: " in function.__doc__, keyword
