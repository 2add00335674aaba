"""Writing the XML API's answers."""

from xml.sax.saxutils import escape

from starlette.responses import Response

from localcloud.errors import ApiError

LISTS = "http://doc.s3.amazonaws.com/2006-03-01"
MULTIPART = "http://s3.amazonaws.com/doc/2006-03-01/"
"""Two name spaces, as in the cloud: https://cloud.google.com/storage/docs/xml-api/reference-status (2026-11)."""
CODES = {
    "conditionNotMet": "PreconditionFailed",
    "notFound": "NoSuchKey",
    "forbidden": "AccessDenied",
    "required": "AccessDenied",
    "conflict": "BucketNotEmpty",
    "requestedRangeNotSatisfiable": "InvalidRange",
    "invalid": "InvalidArgument",
}
MEDIA_TYPE = "application/xml; charset=UTF-8"


def tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def xml(root: str, body: str, namespace: str = LISTS) -> Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{namespace}'>{body}</{root}>"
    return Response(text, media_type=MEDIA_TYPE)


def error_response(problem: ApiError) -> Response:
    code = CODES.get(problem.reason, problem.reason or "InvalidArgument")
    if problem.reason == "notFound" and problem.message.startswith("The specified bucket"):
        code = "NoSuchBucket"
    if problem.reason == "notFound" and problem.message.startswith("The requested upload"):
        code = "NoSuchUpload"
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error>{tag('Code', code)}{tag('Message', problem.message)}</Error>"
    return Response(body, status_code=problem.code, headers=problem.headers, media_type=MEDIA_TYPE)
