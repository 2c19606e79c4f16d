"""Signs a request by Standard Webhooks (standardwebhooks.com, version 1), so that the service can tell who calls.

    webhook-id          the call; the same at each attempt, so that the service can drop what it has done already
    webhook-timestamp   of this attempt, seconds
    webhook-signature   v1, HMAC-SHA256 of "id.timestamp.body", base64

The signature vouches for the body alone: a tool whose arguments go into the path or the query shows by it only who
calls, and when. Services check it with any of the public Standard Webhooks libraries.
"""

from datetime import UTC, datetime

from standardwebhooks import Webhook

from tools.outcome import failure

PREFIX = "whsec_"


def signature_headers(secret_name: str, secret: str, call_id: str, content: bytes, now: datetime) -> dict[str, str]:
    """
    Args:
        secret: `whsec_` and the key in base64.
        now: aware.

    Raises: CallFault: the secret or the body cannot be used for a signature.
    """
    at = datetime.fromtimestamp(int(now.timestamp()), UTC)
    try:
        body = content.decode()
    except UnicodeDecodeError as e:
        raise failure("the body of this call is not text in UTF-8, so it cannot be signed") from e
    signature = _signer(secret_name, secret).sign(call_id, at, body)
    return {"webhook-id": call_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def _signer(name: str, secret: str) -> Webhook:
    unusable = failure(f"the secret {name} is no signing secret: it must be {PREFIX} and a key in base64; set it again")
    if not secret.startswith(PREFIX):
        raise unusable
    try:
        return Webhook(secret)
    except Exception as e:  # the library's own error for an empty key is not exported; base64 raises ValueError
        raise unusable from e
