#!/usr/bin/env python3
"""Behaviour differ for the Quarterdeck REST surface.

Runs a fixed script of requests against one server and writes what a client can observe,
with everything that legitimately differs between two runs (ids, times, tokens, versions)
reduced to facts about its shape.  Two transcripts are then compared case by case.

    rest_differ.py OUT.json                 run against $ENSIGN_AUTH_URL
    rest_differ.py --compare A.json B.json  print the cases that differ; exit 1 if any

Environment for a run
    ENSIGN_AUTH_URL         base address, e.g. http://127.0.0.1:8088
    ENSIGN_OWNER_EMAIL      an existing, verified user who owns an organization
    ENSIGN_OWNER_PASSWORD
    ENSIGN_VERIFY_TOKEN_CMD optional: shell command, called with two more arguments EMAIL
                            and KIND (verify | reset | invite); prints the token which the
                            server would have sent to that address by e-mail
    ENSIGN_SIGNING_KEY      optional: KID:PATH of the server's PEM signing key; lets the
                            script make expired, premature and otherwise odd tokens
    ENSIGN_ALLOWED_ORIGIN   optional: an origin the server allows (http://localhost:3000)

Cases which need something optional that is absent are recorded as skipped, and a case
skipped on one side only counts as a difference.  Errors are recorded as status, content
type, JSON keys and flags; never as message text.  Only the cases of A are compared.  The file
named in ENSIGN_DIFFER_INTENDED (`intended-rest.json` beside this file when unset) may hold
{"case name": "one-line reason"} for differences that are wanted; a name ending in `*` covers
every case with that prefix.

The given owner plays the *foreign* organization.  The script registers its own users and
organizations with unique names, so it can be repeated against the same server.
"""
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import traceback

import jwt
import requests

PASSWORD = "Ab1!secretlonger"
PASSWORD2 = "Zz9?anotherlonger"
KEY_PERMISSIONS = ["topics:create", "topics:edit", "topics:destroy", "topics:read",
                   "metrics:read", "publisher", "subscriber"]
ZERO_ULID = "0" * 26
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid():
    value = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(CROCKFORD[(value >> (5 * i)) & 31] for i in range(25, -1, -1))


def b64json(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# --------------------------------------------------------------------------------------
# Shapes: what is kept of a value
# --------------------------------------------------------------------------------------

SHAPES = [
    (re.compile(r"^0001-01-01T00:00:00Z$"), "time:zero"),
    (re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)$"), "time:fraction"),
    (re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"), "time:seconds"),
    (re.compile(r"^0{26}$"), "ulid:zero"),
    (re.compile(r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"), "ulid"),
    (re.compile(r"^[0-7][0-9a-hjkmnp-tv-z]{25}$"), "ulid:lower"),
    (re.compile(r"^ey[\w-]+\.ey[\w-]+\.[\w-]+$"), "jwt"),
    (re.compile(r"^[a-zA-Z]{32}$"), "letters:32"),
    (re.compile(r"^[a-zA-Z0-9]{64}$"), "alphanumeric:64"),
    (re.compile(r"^(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)$"), "go-duration"),
    (re.compile(r"^v?\d+\.\d+\.\d+"), "version"),
]


class Differ:
    def __init__(self, env):
        self.base = env["ENSIGN_AUTH_URL"].rstrip("/")
        self.owner_email = env["ENSIGN_OWNER_EMAIL"]
        self.owner_password = env["ENSIGN_OWNER_PASSWORD"]
        self.token_cmd = env.get("ENSIGN_VERIFY_TOKEN_CMD", "")
        self.origin = env.get("ENSIGN_ALLOWED_ORIGIN", "http://localhost:3000")
        self.kid = self.key = None
        if env.get("ENSIGN_SIGNING_KEY"):
            self.kid, path = env["ENSIGN_SIGNING_KEY"].split(":", 1)
            self.key = open(path).read()
        self.run = "r" + hashlib.sha1(os.urandom(16)).hexdigest()[:9]
        self.cases = {}
        self.known = {}      # value -> label: "the same value as was sent / seen earlier"

    # -- bookkeeping ---------------------------------------------------------------------

    def know(self, label, value):
        """Remember a value so that seeing it again is recorded as its label."""
        if isinstance(value, str) and len(value) > 3:
            self.known.setdefault(value, label)
        return value

    def record(self, name, observed):
        if name in self.cases:
            raise RuntimeError("case recorded twice: " + name)
        self.cases[name] = observed

    def skip(self, names, reason):
        for name in names.split():
            self.record(name, {"skipped": reason})

    def shape(self, value):
        if isinstance(value, dict):
            return {k: "<page token>" if k == "next_page_token" and v else self.shape(v)
                    for k, v in sorted(value.items())}
        if isinstance(value, list):
            return [self.shape(v) for v in value]
        if not isinstance(value, str):
            return value
        if value in self.known:
            return "=" + self.known[value]
        for pattern, kind in SHAPES:
            if pattern.match(value):
                return "<%s>" % kind
        value = value.replace(self.run, "<run>")
        return value if len(value) <= 60 else "<text over 60 characters>"

    # -- requests ------------------------------------------------------------------------

    def call(self, method, path, body=None, token=None, headers=None, raw=None, cookies=None):
        headers = dict(headers or {})
        headers.setdefault("User-Agent", "rest-differ/1")
        data = raw
        if body is not None:
            data = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if token is not None:
            headers["Authorization"] = "Bearer " + token
        return requests.request(method, self.base + path, data=data, headers=headers,
                                cookies=cookies, timeout=30, allow_redirects=False)

    def observe(self, reply, keep_headers=()):
        seen = {"status": reply.status_code, "type": reply.headers.get("Content-Type")}
        for header in keep_headers:
            seen["header " + header] = reply.headers.get(header)
        if reply.headers.get("Set-Cookie"):
            seen["sets cookies"] = True
        body = None
        try:
            body = reply.json()
        except ValueError:
            seen["body"] = "empty" if not reply.content else "not JSON"
        if body is None:
            return seen
        if reply.status_code >= 400 and isinstance(body, dict):
            seen["keys"] = sorted(body)
            seen["flags"] = {k: v for k, v in sorted(body.items()) if isinstance(v, bool)}
        else:
            seen["body"] = self.shape(body)
        return seen

    def go(self, name, method, path, body=None, keep_headers=(), **options):
        """One case: send, record, and return the JSON body (or {})."""
        try:
            reply = self.call(method, path, body, **options)
        except requests.RequestException as error:
            self.record(name, {"no reply": type(error).__name__})
            return {}
        self.record(name, self.observe(reply, keep_headers))
        try:
            return reply.json() or {}
        except ValueError:
            return {}

    def quiet(self, method, path, body=None, **options):
        """A request which only prepares later cases."""
        reply = self.call(method, path, body, **options)
        try:
            return reply.json() or {}
        except ValueError:
            return {}

    def mailed(self, email, kind="verify"):
        """The token the server would have mailed, waiting for it to appear."""
        if not self.token_cmd:
            return ""
        for _ in range(10):
            out = subprocess.run("%s %s %s" % (self.token_cmd, email, kind), shell=True,
                                 capture_output=True, text=True, timeout=30).stdout.strip()
            if out:
                return out
            time.sleep(0.2)
        return ""

    # -- tokens --------------------------------------------------------------------------

    def sign(self, claims, kid=None, drop_kid=False):
        headers = {} if drop_kid else {"kid": kid or self.kid}
        return jwt.encode(claims, self.key, algorithm="RS256", headers=headers)

    def claims(self, token):
        return b64json(token.split(".")[1])

    def altered(self, token, drop=(), **changes):
        """The same token with some claims changed, signed with the server's own key."""
        claims = dict(self.claims(token), **changes)
        for name in drop:
            claims.pop(name, None)
        return self.sign(claims)

    def token_facts(self, token):
        header, claims = (b64json(p) for p in token.split(".")[:2])
        iat = claims.get("iat", 0)
        facts = {
            "header": {k: "<signing kid>" if k == "kid" and v in self.kids else v
                       for k, v in sorted(header.items())},
            "signature verifies": self.verifies(token),
            "numeric dates are whole": all(isinstance(claims.get(k), int)
                                           for k in ("iat", "nbf", "exp")),
            "iat is now": abs(iat - time.time()) < 30,
            "nbf - iat": claims.get("nbf", 0) - iat,
            "exp - iat": claims.get("exp", 0) - iat,
        }
        rest = {}
        for name, value in claims.items():
            if name in ("iat", "nbf", "exp"):
                continue
            if name == "permissions":
                value = sorted(value)
            elif name == "aud":
                value = [self.audience_name(a, claims) for a in value] \
                    if isinstance(value, list) else "a bare string"
            elif name == "iss":
                value = "equals issuer of JWKS host" if value == self.issuer else "other"
            elif name == "picture":
                value = self.picture_name(value, claims.get("email", ""))
            else:
                value = self.shape(value)
            rest[name] = value
        facts["claims"] = dict(sorted(rest.items()))
        return facts

    def audience_name(self, audience, claims):
        if audience == claims.get("iss", "").rstrip("/") + "/v1/refresh":
            return "issuer + /v1/refresh"
        return "audience" if audience == self.audience else "other"

    def picture_name(self, url, email):
        digest = hashlib.md5(email.strip().lower().encode()).hexdigest()
        return url.replace(digest, "<md5 of email>")

    def verifies(self, token):
        try:
            kid = jwt.get_unverified_header(token)["kid"]
            key = jwt.PyJWK(self.kids[kid]).key
            jwt.decode(token, key, algorithms=["RS256", "EdDSA"],
                       options={"verify_aud": False, "verify_nbf": False, "verify_exp": False})
            return True
        except (KeyError, jwt.PyJWTError):
            return False

    def pair(self, name, reply):
        """Record the facts of an access/refresh pair."""
        access, refresh = reply.get("access_token", ""), reply.get("refresh_token", "")
        if not access:
            return self.record(name + ".token.access", {"absent": True})
        self.record(name + ".token.access", self.token_facts(access))
        if not refresh:
            return self.record(name + ".token.refresh", {"absent": True})
        facts = self.token_facts(refresh)
        a, r = self.claims(access), self.claims(refresh)
        facts["same as access"] = sorted(k for k in r if a.get(k) == r[k])
        self.record(name + ".token.refresh", facts)

    # -- users ---------------------------------------------------------------------------

    def person(self, label, **more):
        """A fresh registered and verified user: dict with email, ids and an access token."""
        email = "%s-%s@example.com" % (label, self.run)
        form = dict(name=label.title() + " " + self.run, email=email, password=PASSWORD,
                    pwcheck=PASSWORD, organization=label.title() + " Org " + self.run,
                    domain="%s-%s" % (label, self.run), terms_agreement=True,
                    privacy_agreement=True)
        form.update(more)
        reply = self.quiet("POST", "/v1/register", form)
        user = {"email": email, "user_id": reply.get("user_id", ""),
                "org_id": reply.get("org_id", ""), "domain": form["domain"]}
        self.know(label + ".user_id", user["user_id"])
        self.know(label + ".org_id", user["org_id"])
        self.know(label + ".email", email)
        self.quiet("POST", "/v1/verify", {"token": self.mailed(email)})
        user["token"] = self.login(email)
        return user

    def login(self, email, password=PASSWORD, **more):
        return self.quiet("POST", "/v1/login",
                          dict(email=email, password=password, **more)).get("access_token", "")

    def wait_key_used(self, token, key_id):
        for _ in range(20):
            used = self.quiet("GET", "/v1/apikeys/" + key_id, token=token).get("last_used", "")
            if used and not used.startswith("0001"):
                return
            time.sleep(0.1)


# --------------------------------------------------------------------------------------
# Cases.  Each function is one chapter; names are chapter.case
# --------------------------------------------------------------------------------------

BAD_BODIES = [("malformed", "{bad"), ("empty-body", ""), ("null", "null"), ("array", "[]")]


def bad_bodies(d, chapter, method, path, token=None):
    for name, raw in BAD_BODIES:
        d.go("%s.%s" % (chapter, name), method, path, raw=raw, token=token,
             headers={"Content-Type": "application/json"})


def public_routes(d):
    limits = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    d.go("status.get", "GET", "/v1/status", keep_headers=limits)
    d.go("status.method-not-allowed", "PUT", "/v1/status", keep_headers=["Allow"])
    d.go("status.head", "HEAD", "/v1/status", keep_headers=["Allow"])
    d.go("status.options-without-origin", "OPTIONS", "/v1/status", keep_headers=["Allow"])
    d.go("status.trailing-slash", "GET", "/v1/status/", keep_headers=["Location"])
    d.go("status.query-ignored", "GET", "/v1/status?x=1")
    d.go("routes.root", "GET", "/")
    d.go("routes.unknown", "GET", "/nope")
    d.go("routes.unknown-v1", "POST", "/v1/nope", {})
    d.go("routes.upper-case", "GET", "/V1/status")
    d.go("routes.double-slash", "GET", "/v1//status")
    d.go("routes.post-trailing-slash", "POST", "/v1/authenticate/", {}, keep_headers=["Location"])
    d.go("routes.method-not-allowed-before-auth", "PATCH", "/v1/apikeys", {}, keep_headers=["Allow"])
    d.go("routes.invites-without-token", "GET", "/v1/invites/", keep_headers=["Location"])
    d.go("routes.get-authenticate", "GET", "/v1/authenticate", keep_headers=["Allow"])
    for probe in ("livez", "healthz", "readyz"):
        d.go("probe." + probe, "GET", "/" + probe)
    reply = d.call("GET", "/metrics")
    d.record("metrics.get", {
        "status": reply.status_code, "type": (reply.headers.get("Content-Type") or "").split(";")[0],
        "http counter": "http_stats_requests_handled" in reply.text,
        "code label is the status text": 'code="OK",path="/v1/status"' in reply.text,
        "path label has the query": 'path="/v1/status?x=1"' in reply.text})

    cors = ["Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
            "Access-Control-Allow-Headers", "Access-Control-Allow-Credentials",
            "Access-Control-Max-Age", "Access-Control-Expose-Headers", "Vary"]
    ask = {"Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,content-type"}
    d.go("cors.preflight-allowed", "OPTIONS", "/v1/authenticate", keep_headers=cors,
         headers=dict(ask, Origin=d.origin))
    d.go("cors.preflight-foreign", "OPTIONS", "/v1/authenticate", keep_headers=cors,
         headers=dict(ask, Origin="http://evil.example"))
    d.go("cors.preflight-unknown-route", "OPTIONS", "/v1/nope", keep_headers=cors,
         headers=dict(ask, Origin=d.origin))
    d.go("cors.simple-allowed", "GET", "/v1/status", keep_headers=cors, headers={"Origin": d.origin})
    d.go("cors.simple-foreign", "GET", "/v1/status", keep_headers=cors,
         headers={"Origin": "http://evil.example"})
    d.go("cors.simple-own-host", "GET", "/v1/status", keep_headers=cors, headers={"Origin": d.base})
    d.go("cors.error-allowed", "GET", "/v1/projects", keep_headers=cors, headers={"Origin": d.origin})


def well_known(d):
    reply = d.call("GET", "/.well-known/jwks.json")
    document = reply.json()
    d.kids = {k["kid"]: k for k in document["keys"]}
    d.record("jwks.document", {
        "status": reply.status_code, "type": reply.headers.get("Content-Type"),
        "cache headers": [h for h in ("Cache-Control", "ETag", "Expires", "Last-Modified")
                          if h in reply.headers],
        "keys of document": sorted(document),
        "members": [{"names": sorted(k), "alg": k.get("alg"), "kty": k.get("kty"), "use": k.get("use"),
                     "e": k.get("e"), "kid": d.shape(k.get("kid")),
                     "bits": 8 * len(base64.urlsafe_b64decode(k.get("n", k.get("x", "")) + "=="))}
                    for k in document["keys"]]})
    d.go("jwks.method-not-allowed", "POST", "/.well-known/jwks.json", {}, keep_headers=["Allow"])

    reply = d.call("GET", "/.well-known/openid-configuration")
    document = reply.json()
    d.issuer = document["issuer"].rstrip("/")
    for name in ("issuer", "jwks_uri"):
        document[name] = document[name].replace(d.issuer, "<issuer>")
    d.record("openid.document", {"status": reply.status_code,
                                 "type": reply.headers.get("Content-Type"), "body": document})
    reply = d.call("GET", "/.well-known/security.txt")
    d.record("security-txt.document", {
        "status": reply.status_code, "type": reply.headers.get("Content-Type"),
        "signed": "BEGIN PGP SIGNED MESSAGE" in reply.text,
        "fields": sorted(set(re.findall(r"^(Contact|Expires|Encryption|Preferred-Languages|Canonical):",
                                        reply.text, re.M)))})


def owner_login(d):
    """The given owner: the foreign organization of the later chapters."""
    reply = d.quiet("POST", "/v1/login", {"email": d.owner_email, "password": d.owner_password})
    if not reply.get("access_token"):
        sys.exit("cannot log in as the given owner: %s" % reply)
    d.audience = d.claims(reply["access_token"])["aud"][0]
    d.know("owner.email", d.owner_email)
    claims = d.claims(reply["access_token"])
    owner = {"email": d.owner_email, "token": reply["access_token"],
             "user_id": d.know("owner.user_id", claims["sub"]),
             "org_id": d.know("owner.org_id", claims["org"])}
    owner["domain"] = d.quiet("GET", "/v1/organizations/" + owner["org_id"],
                              token=owner["token"]).get("domain", "")
    owner["project"] = d.know("owner.project", new_ulid())
    d.quiet("POST", "/v1/projects", {"project_id": owner["project"]}, token=owner["token"])
    owner["key"] = d.quiet("POST", "/v1/apikeys", {
        "name": "foreign", "project_id": owner["project"], "permissions": ["publisher"]},
        token=owner["token"])
    return owner


def register(d, owner):
    good = dict(name="Reg " + d.run, email="reg-%s@example.com" % d.run, password=PASSWORD,
                pwcheck=PASSWORD, organization="Reg Org " + d.run, domain="reg-" + d.run,
                terms_agreement=True, privacy_agreement=True)
    d.know("reg.email", good["email"])
    bad_bodies(d, "register", "POST", "/v1/register")

    def refused(case, drop=None, **changes):
        form = dict(good, email="no-%s@example.com" % d.run, domain="no-" + d.run)
        form.update(changes)
        form.pop(drop, None)
        d.go("register." + case, "POST", "/v1/register", form)

    for field in ("email", "password", "pwcheck", "terms_agreement", "privacy_agreement"):
        refused("missing-" + field, drop=field)
    refused("blank-email", email="   ")
    refused("mismatch", pwcheck=PASSWORD2)
    refused("weak-short", password="Ab1!", pwcheck="Ab1!")
    refused("weak-lower-only", password="abcdefghijkl", pwcheck="abcdefghijkl")
    refused("weak-two-classes", password="Abcdefgh", pwcheck="Abcdefgh")
    refused("weak-blocked", password="Password1", pwcheck="Password1")
    refused("terms-false", terms_agreement=False)
    refused("privacy-false", privacy_agreement=False)
    refused("wrong-type", terms_agreement="yes")
    refused("name-wrong-type", name=5)
    refused("project-id-garbage", project_id="garbage")

    made = d.go("register.good", "POST", "/v1/register",
                dict(good, project_id=d.know("reg.project", new_ulid()), extra="ignored"))
    d.know("reg.user_id", made.get("user_id"))
    d.know("reg.org_id", made.get("org_id"))
    d.go("register.duplicate-email", "POST", "/v1/register", dict(good, domain="other-" + d.run))
    d.go("register.duplicate-domain", "POST", "/v1/register",
         dict(good, email="dd-%s@example.com" % d.run))
    d.go("register.duplicate-domain-upper-case", "POST", "/v1/register",
         dict(good, email="du-%s@example.com" % d.run, domain=" REG-%s " % d.run.upper()))
    d.go("register.email-other-case", "POST", "/v1/register",
         dict(good, email="REG-%s@example.com" % d.run, domain="case-" + d.run))
    d.go("register.trimmed", "POST", "/v1/register",
         dict(good, name="  Trim  ", email=" trim-%s@example.com " % d.run, organization="  T O  ",
              domain="  Trim-%s " % d.run, password="  " + PASSWORD + "  "))
    d.go("register.not-an-address", "POST", "/v1/register",
         dict(good, email="nonsense" + d.run, domain="nonsense-" + d.run))
    d.go("register.domain-with-spaces", "POST", "/v1/register",
         dict(good, email="sp-%s@example.com" % d.run, domain="sp ace/%s" % d.run))
    minimal = d.call("POST", "/v1/register", dict(
        email="min-%s@example.com" % d.run, password=PASSWORD, pwcheck=PASSWORD,
        terms_agreement=True, privacy_agreement=True))
    body = minimal.json()
    d.record("register.minimal", {
        "status": minimal.status_code, "org_name": body.get("org_name"),
        "generated domain": re.sub("[a-z]", "a", body.get("org_domain", ""))})
    d.go("register.project-id-zero", "POST", "/v1/register",
         dict(good, email="pz-%s@example.com" % d.run, domain="pz-" + d.run, project_id=ZERO_ULID))
    d.go("register.project-id-of-another-organization", "POST", "/v1/register",
         dict(good, email="pf-%s@example.com" % d.run, domain="pf-" + d.run,
              project_id=owner["project"]))
    d.go("register.after-failed-project-link", "POST", "/v1/register",
         dict(good, email="pf-%s@example.com" % d.run, domain="pf2-" + d.run))
    return good


def login_and_verify(d, owner, reg):
    email = reg["email"]
    bad_bodies(d, "login", "POST", "/v1/login")
    d.go("login.unverified", "POST", "/v1/login", {"email": email, "password": PASSWORD})
    d.go("login.unverified-wrong-password", "POST", "/v1/login", {"email": email, "password": "x"})
    d.go("login.missing-email", "POST", "/v1/login", {"password": PASSWORD})
    d.go("login.missing-password", "POST", "/v1/login", {"email": email})
    d.go("login.unknown", "POST", "/v1/login", {"email": "x" + email, "password": PASSWORD})

    bad_bodies(d, "verify", "POST", "/v1/verify")
    d.go("verify.missing-token", "POST", "/v1/verify", {})
    d.go("verify.unknown-token", "POST", "/v1/verify", {"token": "unknown"})
    d.go("verify.org-garbage", "POST", "/v1/verify", {"token": "unknown", "org_id": "garbage"})
    bad_bodies(d, "resend", "POST", "/v1/resend")
    d.go("resend.missing-email", "POST", "/v1/resend", {})
    d.go("resend.long-email", "POST", "/v1/resend", {"email": "a" * 255})
    d.go("resend.unknown-email", "POST", "/v1/resend", {"email": "nobody@example.com"})
    d.go("resend.org-garbage", "POST", "/v1/resend", {"email": email, "org_id": "garbage"})
    bad_bodies(d, "forgot", "POST", "/v1/forgot-password")
    d.go("forgot.missing-email", "POST", "/v1/forgot-password", {})
    d.go("forgot.long-email", "POST", "/v1/forgot-password", {"email": "a" * 255})
    d.go("forgot.unknown-email", "POST", "/v1/forgot-password", {"email": "nobody@example.com"})
    bad_bodies(d, "reset", "POST", "/v1/reset-password")
    form = {"token": "unknown", "password": PASSWORD2, "pwcheck": PASSWORD2}
    for field in form:
        d.go("reset.missing-" + field, "POST", "/v1/reset-password",
             {k: v for k, v in form.items() if k != field})
    d.go("reset.mismatch", "POST", "/v1/reset-password", dict(form, pwcheck="x"))
    d.go("reset.weak", "POST", "/v1/reset-password", dict(form, password="abc", pwcheck="abc"))
    d.go("reset.unknown-token", "POST", "/v1/reset-password", form)

    if not d.token_cmd:
        return d.skip("verify.after-resend-old-token verify.foreign-org verify.good verify.again "
                      "login.good forgot.good reset.good reset.again", "needs ENSIGN_VERIFY_TOKEN_CMD")

    first = d.mailed(email)
    d.record("verify.token-shape", {"length": len(first), "url safe": bool(re.match(r"^[\w=-]+$", first))})
    d.go("forgot.unverified", "POST", "/v1/forgot-password", {"email": email})
    d.record("forgot.unverified-keeps-token", {"same token": d.mailed(email) == first})
    d.go("reset.with-verification-token", "POST", "/v1/reset-password", dict(form, token=first))
    d.go("resend.unverified", "POST", "/v1/resend", {"email": " " + email + " "})
    second = d.mailed(email)
    d.record("resend.replaces-token", {"replaced": second != first})
    d.go("verify.after-resend-old-token", "POST", "/v1/verify", {"token": first})
    d.go("verify.foreign-org", "POST", "/v1/verify", {"token": second, "org_id": owner["org_id"]})
    reply = d.go("verify.good", "POST", "/v1/verify", {"token": second})
    d.pair("verify", reply)
    d.go("verify.again", "POST", "/v1/verify", {"token": second})
    d.go("resend.verified", "POST", "/v1/resend", {"email": email})

    reply = d.go("login.good", "POST", "/v1/login", {"email": email, "password": PASSWORD})
    d.pair("login", reply)
    for _ in range(20):
        again = d.call("POST", "/v1/login", {"email": email, "password": PASSWORD})
        if again.json().get("last_login"):
            break
        time.sleep(0.1)
    d.record("login.second-time", d.observe(again))
    d.go("login.wrong-password", "POST", "/v1/login", {"email": email, "password": PASSWORD2})
    d.go("login.email-upper-case", "POST", "/v1/login", {"email": email.upper(), "password": PASSWORD})
    d.go("login.email-with-spaces", "POST", "/v1/login", {"email": " %s " % email, "password": PASSWORD})
    d.go("login.keys-upper-case", "POST", "/v1/login", {"EMAIL": email, "Password": PASSWORD})
    d.go("login.own-org", "POST", "/v1/login",
         {"email": email, "password": PASSWORD, "org_id": d.claims(reply["access_token"])["org"]})
    d.go("login.zero-org", "POST", "/v1/login", {"email": email, "password": PASSWORD, "org_id": ZERO_ULID})
    d.go("login.foreign-org", "POST", "/v1/login",
         {"email": email, "password": PASSWORD, "org_id": owner["org_id"]})
    d.go("login.org-garbage", "POST", "/v1/login", {"email": email, "password": PASSWORD, "org_id": "garbage"})
    d.go("login.org-empty", "POST", "/v1/login", {"email": email, "password": PASSWORD, "org_id": ""})
    d.go("login.org-null", "POST", "/v1/login", {"email": email, "password": PASSWORD, "org_id": None})
    d.go("login.unknown-invite", "POST", "/v1/login",
         {"email": email, "password": PASSWORD, "invite_token": "unknown"})
    d.go("login.org-and-invite", "POST", "/v1/login",
         {"email": email, "password": PASSWORD, "invite_token": "x", "org_id": owner["org_id"]})

    d.go("forgot.good", "POST", "/v1/forgot-password", {"email": email})
    token = d.mailed(email, "reset")
    d.record("reset.token-shape", {"length": len(token), "changed": token != second})
    d.go("reset.good", "POST", "/v1/reset-password", dict(form, token=" %s " % token))
    d.go("reset.again", "POST", "/v1/reset-password", dict(form, token=token))
    d.go("reset.token-as-verification", "POST", "/v1/verify", {"token": token})
    d.go("login.old-password-after-reset", "POST", "/v1/login", {"email": email, "password": PASSWORD})
    d.go("login.new-password-after-reset", "POST", "/v1/login", {"email": email, "password": PASSWORD2})


def bearer(d, main, key):
    token, path = main["token"], "/v1/projects"

    def header(name, value):
        d.go("bearer." + name, "GET", path, headers={"Authorization": value})

    d.go("bearer.none", "GET", path)
    header("garbage", "Bearer garbage")
    header("basic", "Basic " + b64(b"a:b"))
    header("no-scheme", token)
    header("lower-case-scheme", "bearer " + token)
    header("upper-case-scheme", "BEARER " + token)
    header("more-spaces", "Bearer   " + token + "  ")
    header("tampered", "Bearer " + token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB"))
    header("refresh-token", "Bearer " + main["refresh"])
    header("api-key-token", "Bearer " + key["access"])
    d.go("bearer.cookie", "GET", path, cookies={"access_token": token})
    d.go("bearer.cookie-garbage", "GET", path, cookies={"access_token": "garbage"})
    d.go("bearer.bad-header-beats-cookie", "GET", path, token="garbage", cookies={"access_token": token})
    d.go("bearer.refresh-cookie-alone", "GET", path, cookies={"refresh_token": main["refresh"]})
    claims = d.claims(token)
    unsigned = b64(json.dumps({"alg": "none", "typ": "JWT", "kid": list(d.kids)[0]}).encode()) \
        + "." + b64(json.dumps(claims).encode()) + "."
    header("alg-none", "Bearer " + unsigned)
    header("hs256", "Bearer " + jwt.encode(claims, "x" * 40, "HS256", headers={"kid": list(d.kids)[0]}))
    names = ("expired premature wrong-issuer wrong-audience extra-audience no-kid unknown-kid no-org "
             "org-garbage no-subject subject-garbage no-permissions no-expiry lower-case-kid "
             "ripe-refresh-token ripe-refresh-token.no-permission-needed no-org.apikeys no-org.users "
             "no-org.organization no-org.project-create no-org.apikey-create no-org.invite "
             "no-subject.organizations")
    if not d.key:
        return d.skip(" ".join("bearer." + n for n in names.split()), "needs ENSIGN_SIGNING_KEY")
    now = int(time.time())
    header("expired", "Bearer " + d.altered(token, exp=now - 1))
    header("premature", "Bearer " + d.altered(token, nbf=now + 600))
    header("wrong-issuer", "Bearer " + d.altered(token, iss="http://evil.example"))
    header("wrong-audience", "Bearer " + d.altered(token, aud=["http://evil.example"]))
    header("extra-audience", "Bearer " + d.altered(token, aud=["http://evil.example", d.audience]))
    header("no-kid", "Bearer " + d.sign(claims, drop_kid=True))
    header("unknown-kid", "Bearer " + d.sign(claims, kid=new_ulid()))
    header("lower-case-kid", "Bearer " + d.sign(claims, kid=d.kid.lower()))
    header("no-org", "Bearer " + d.altered(token, drop=["org"]))
    header("org-garbage", "Bearer " + d.altered(token, org="garbage"))
    header("no-subject", "Bearer " + d.altered(token, drop=["sub"]))
    header("subject-garbage", "Bearer " + d.altered(token, sub="garbage"))
    header("no-permissions", "Bearer " + d.altered(token, drop=["permissions"]))
    header("no-expiry", "Bearer " + d.altered(token, drop=["exp"]))
    ripe = d.altered(main["refresh"], nbf=now - 5, iat=now - 60)
    header("ripe-refresh-token", "Bearer " + ripe)
    d.go("bearer.ripe-refresh-token.no-permission-needed", "GET", "/v1/apikeys/permissions", token=ripe)
    orgless = d.altered(token, drop=["org"])
    for name, method, path, body in [
            ("apikeys", "GET", "/v1/apikeys", None), ("users", "GET", "/v1/users", None),
            ("organization", "GET", "/v1/organizations/" + main["org_id"], None),
            ("project-create", "POST", "/v1/projects", {"project_id": new_ulid()}),
            ("apikey-create", "POST", "/v1/apikeys",
             {"name": "x", "project_id": main["project"], "permissions": ["publisher"]}),
            ("invite", "POST", "/v1/invites", {"email": "a@b.c", "role": "Member"})]:
        d.go("bearer.no-org." + name, method, path, body, token=orgless)
    d.go("bearer.no-subject.organizations", "GET", "/v1/organizations",
         token=d.altered(token, drop=["sub"]))


def authenticate(d, main, key):
    creds = {"client_id": key["client_id"], "client_secret": key["client_secret"]}
    bad_bodies(d, "authenticate", "POST", "/v1/authenticate")
    d.go("authenticate.wrong-types", "POST", "/v1/authenticate", {"client_id": 5, "client_secret": True})
    d.go("authenticate.empty-object", "POST", "/v1/authenticate", {})
    d.go("authenticate.empty-id", "POST", "/v1/authenticate", dict(creds, client_id=""))
    d.go("authenticate.empty-secret", "POST", "/v1/authenticate", dict(creds, client_secret=""))
    d.go("authenticate.unknown-id", "POST", "/v1/authenticate", dict(creds, client_id="a" * 32))
    d.go("authenticate.wrong-secret", "POST", "/v1/authenticate", dict(creds, client_secret="a" * 64))
    d.go("authenticate.id-other-case", "POST", "/v1/authenticate",
         dict(creds, client_id=creds["client_id"].swapcase()))
    d.go("authenticate.record-id-as-client-id", "POST", "/v1/authenticate", dict(creds, client_id=key["id"]))
    reply = d.go("authenticate.good", "POST", "/v1/authenticate", creds)
    d.pair("authenticate", reply)
    key["access"], key["refresh"] = reply.get("access_token", ""), reply.get("refresh_token", "")
    other = d.quiet("GET", "/v1/projects?page_size=1", token=main["token"])["projects"][0]["project_id"]
    reply = d.go("projects.access.by-key-to-other-project", "POST", "/v1/projects/access",
                 {"project_id": other}, token=key["access"])
    d.pair("projects.access.by-key-to-other-project", reply)
    d.wait_key_used(main["token"], key["id"])
    d.go("authenticate.second-time", "POST", "/v1/authenticate", creds)
    d.go("authenticate.extra-fields", "POST", "/v1/authenticate", dict(creds, scope="x", nested={"a": [1]}))
    d.go("authenticate.keys-upper-case", "POST", "/v1/authenticate",
         {k.upper(): v for k, v in creds.items()})
    d.go("authenticate.trailing-garbage", "POST", "/v1/authenticate", raw=json.dumps(creds) + " trailing")
    for name, kind in [("text-plain", "text/plain"), ("form", "application/x-www-form-urlencoded"),
                       ("xml", "application/xml")]:
        d.go("authenticate.type-" + name, "POST", "/v1/authenticate", raw=json.dumps(creds),
             headers={"Content-Type": kind})
    d.go("authenticate.no-type", "POST", "/v1/authenticate", raw=json.dumps(creds).encode())
    d.go("authenticate.form-body", "POST", "/v1/authenticate",
         raw="client_id=%s&client_secret=%s" % tuple(creds.values()),
         headers={"Content-Type": "application/x-www-form-urlencoded"})
    d.go("authenticate.bom", "POST", "/v1/authenticate", raw=b"\xef\xbb\xbf" + json.dumps(creds).encode())
    d.go("authenticate.garbage-bearer-ignored", "POST", "/v1/authenticate", creds, token="garbage")
    d.go("authenticate.query-parameters-ignored", "POST",
         "/v1/authenticate?client_id=%s&client_secret=%s" % tuple(creds.values()), {})
    d.go("authenticate.large-body", "POST", "/v1/authenticate", dict(creds, pad="x" * 6_000_000))
    d.go("authenticate.large-malformed-body", "POST", "/v1/authenticate", raw='{"pad":"' + "x" * 6_000_000)


def refresh(d, owner, main, key):
    bad_bodies(d, "refresh", "POST", "/v1/refresh")

    def ask(name, token, **more):
        return d.go("refresh." + name, "POST", "/v1/refresh", dict(refresh_token=token, **more))

    d.go("refresh.missing", "POST", "/v1/refresh", {})
    ask("garbage", "garbage")
    ask("access-token", key["access"])
    ask("before-nbf", key["refresh"])
    ask("org-garbage", key["refresh"], org_id="garbage")
    names = "good-key good-user expired wrong-issuer no-refresh-audience only-refresh-audience " \
            "twice user-foreign-org user-own-org user-zero-org key-foreign-org unknown-subject no-org " \
            "no-subject subject-garbage last-login-is-iat"
    if not d.key:
        return d.skip(" ".join("refresh." + n for n in names.split()), "needs ENSIGN_SIGNING_KEY")
    now = int(time.time())
    ripe_key = d.altered(key["refresh"], nbf=now - 5, iat=now - 60)
    ripe_user = d.altered(main["refresh"], nbf=now - 5, iat=now - 60)
    reply = ask("good-key", ripe_key)
    d.pair("refresh-key", reply)
    issued = reply.get("last_login", "")
    d.record("refresh.last-login-is-iat", {
        "equal": bool(issued) and abs(time.mktime(time.strptime(issued[:19], "%Y-%m-%dT%H:%M:%S"))
                                      - time.timezone - (now - 60)) < 1})
    d.pair("refresh-user", ask("good-user", ripe_user))
    ask("twice", ripe_user)
    ask("expired", d.altered(ripe_user, exp=now - 1))
    ask("wrong-issuer", d.altered(ripe_user, iss="http://evil.example"))
    aud = d.claims(ripe_user)["aud"]
    ask("no-refresh-audience", d.altered(ripe_user, aud=aud[:1]))
    ask("only-refresh-audience", d.altered(ripe_user, aud=aud[1:]))
    ask("user-foreign-org", ripe_user, org_id=owner["org_id"])
    ask("user-own-org", ripe_user, org_id=main["org_id"])
    ask("user-zero-org", ripe_user, org_id=ZERO_ULID)
    ask("key-foreign-org", ripe_key, org_id=owner["org_id"])
    ask("unknown-subject", d.altered(ripe_user, sub=new_ulid()))
    ask("no-org", d.altered(ripe_user, drop=["org"]))
    ask("no-subject", d.altered(ripe_user, drop=["sub"]))
    ask("subject-garbage", d.altered(ripe_user, sub="garbage"))
    key["ripe"] = ripe_key


def switch(d, owner, main, key):
    bad_bodies(d, "switch", "POST", "/v1/switch", token=main["token"])
    d.go("switch.unauthenticated", "POST", "/v1/switch", {"org_id": owner["org_id"]})
    d.go("switch.missing", "POST", "/v1/switch", {}, token=main["token"])
    d.go("switch.zero", "POST", "/v1/switch", {"org_id": ZERO_ULID}, token=main["token"])
    d.go("switch.garbage", "POST", "/v1/switch", {"org_id": "garbage"}, token=main["token"])
    d.go("switch.same", "POST", "/v1/switch", {"org_id": main["org_id"]}, token=main["token"])
    d.go("switch.foreign", "POST", "/v1/switch", {"org_id": owner["org_id"]}, token=main["token"])
    d.go("switch.unknown", "POST", "/v1/switch", {"org_id": new_ulid()}, token=main["token"])
    d.go("switch.api-key", "POST", "/v1/switch", {"org_id": owner["org_id"]}, token=key["access"])


def projects(d, owner, main):
    token = main["token"]
    d.go("projects.list-empty", "GET", "/v1/projects", token=token)
    bad_bodies(d, "projects.create", "POST", "/v1/projects", token=token)
    d.go("projects.create.missing", "POST", "/v1/projects", {}, token=token)
    d.go("projects.create.zero", "POST", "/v1/projects", {"project_id": ZERO_ULID}, token=token)
    d.go("projects.create.garbage", "POST", "/v1/projects", {"project_id": "garbage"}, token=token)
    d.go("projects.create.empty-id", "POST", "/v1/projects", {"project_id": ""}, token=token)
    d.go("projects.create.org-given", "POST", "/v1/projects",
         {"project_id": new_ulid(), "org_id": main["org_id"]}, token=token)
    main["project"] = d.know("main.project", new_ulid())
    d.go("projects.create.good", "POST", "/v1/projects",
         {"project_id": main["project"], "apikeys_count": 7, "created": "2020-01-01T00:00:00Z", "x": 1},
         token=token)
    d.go("projects.create.duplicate", "POST", "/v1/projects", {"project_id": main["project"]}, token=token)
    lower = new_ulid()
    d.know("main.project2", lower)
    d.go("projects.create.lower-case", "POST", "/v1/projects", {"project_id": lower.lower()}, token=token)
    shared = d.know("main.project3", new_ulid())
    d.quiet("POST", "/v1/projects", {"project_id": shared}, token=owner["token"])
    d.go("projects.create.linked-elsewhere", "POST", "/v1/projects", {"project_id": shared}, token=token)
    d.go("projects.detail.good", "GET", "/v1/projects/" + main["project"], token=token)
    d.go("projects.detail.lower-case", "GET", "/v1/projects/" + main["project"].lower(), token=token)
    d.go("projects.detail.unknown", "GET", "/v1/projects/" + new_ulid(), token=token)
    d.go("projects.detail.garbage", "GET", "/v1/projects/garbage", token=token)
    d.go("projects.detail.foreign", "GET", "/v1/projects/" + owner["project"], token=token)
    d.go("projects.detail.delete", "DELETE", "/v1/projects/" + main["project"], token=token,
         keep_headers=["Allow"])
    d.go("projects.list.all", "GET", "/v1/projects", token=token)
    page = d.go("projects.list.page1", "GET", "/v1/projects?page_size=1", token=token)
    mark = page.get("next_page_token", "")
    d.go("projects.list.page2", "GET", "/v1/projects?next_page_token=" + mark, token=token)
    paging_errors(d, "projects.list", "/v1/projects", token)

    bad_bodies(d, "projects.access", "POST", "/v1/projects/access", token=token)
    d.go("projects.access.missing", "POST", "/v1/projects/access", {}, token=token)
    d.go("projects.access.org-given", "POST", "/v1/projects/access",
         {"project_id": main["project"], "org_id": main["org_id"]}, token=token)
    d.go("projects.access.unknown", "POST", "/v1/projects/access", {"project_id": new_ulid()}, token=token)
    d.go("projects.access.foreign", "POST", "/v1/projects/access", {"project_id": owner["project"]},
         token=token)
    reply = d.go("projects.access.good", "POST", "/v1/projects/access", {"project_id": main["project"]},
                 token=token)
    d.pair("projects.access", reply)
    main["access"] = reply.get("access_token", "")


def paging_errors(d, chapter, path, token):
    d.go(chapter + ".size-negative", "GET", path + "?page_size=-1", token=token)
    d.go(chapter + ".size-zero", "GET", path + "?page_size=0", token=token)
    d.go(chapter + ".size-huge", "GET", path + "?page_size=100000", token=token)
    d.go(chapter + ".size-word", "GET", path + "?page_size=abc", token=token)
    d.go(chapter + ".token-garbage", "GET", path + "?next_page_token=garbage!", token=token)
    d.go(chapter + ".token-not-a-cursor", "GET", path + "?next_page_token=AAAA", token=token)
    expired = b"\x12\x1a" + ZERO_ULID.encode() + b"\x18\x02" + b"\x22\x02\x08\x01"
    d.go(chapter + ".token-expired", "GET", path + "?next_page_token=" + b64(expired), token=token)
    d.go(chapter + ".token-without-expiry", "GET", path + "?next_page_token=" + b64(expired[:-4]),
         token=token)
    future = b"\x12\x04junk" + b"\x18\x02" + b"\x22\x06\x08\xff\xff\xff\xff\x0f"
    d.go(chapter + ".token-with-junk-index", "GET", path + "?next_page_token=" + b64(future), token=token)


def apikeys(d, owner, main):
    token, project = main["token"], main["project"]
    d.go("apikeys.permissions", "GET", "/v1/apikeys/permissions", token=token)
    d.go("apikeys.permissions-unauthenticated", "GET", "/v1/apikeys/permissions")
    d.go("apikeys.list-empty", "GET", "/v1/apikeys", token=token)
    good = {"name": "Key " + d.run, "project_id": project, "permissions": list(KEY_PERMISSIONS)}
    bad_bodies(d, "apikeys.create", "POST", "/v1/apikeys", token=token)

    def create(case, drop=None, token=token, **changes):
        form = dict(good, **changes)
        form.pop(drop, None)
        return d.go("apikeys.create." + case, "POST", "/v1/apikeys", form, token=token)

    for field in good:
        create("missing-" + field, drop=field)
    create("empty-permissions", permissions=[])
    create("project-zero", project_id=ZERO_ULID)
    create("project-empty", project_id="")
    create("project-garbage", project_id="garbage")
    create("project-unknown", project_id=new_ulid())
    create("project-foreign", project_id=owner["project"])
    for field, value in [("id", new_ulid()), ("client_id", "x"), ("client_secret", "x"),
                         ("org_id", main["org_id"]), ("created_by", main["user_id"]),
                         ("user_agent", "x"), ("last_used", "2020-01-01T00:00:00Z")]:
        create("restricted-" + field, **{field: value})
    create("zero-ids-allowed", id=ZERO_ULID, org_id=ZERO_ULID, created_by=ZERO_ULID)
    create("permission-unknown", permissions=["nope"])
    create("permission-not-for-keys", permissions=["projects:edit"])
    create("permission-in-known-group", permissions=["topics:nope"])
    create("permission-wrong-type", permissions="publisher")
    create("name-blank", name="   ")
    create("with-project-access-token", token=main["access"])
    full = create("good", source="differ", created="2020-01-01T00:00:00Z", extra=1)
    part = create("partial-with-duplicates", name="Part", permissions=["subscriber", "publisher", "publisher"])
    main["key"] = full
    d.know("key.id", full.get("id"))
    d.know("key.client_id", full.get("client_id"))

    kid = full.get("id", "")
    d.go("apikeys.detail.good", "GET", "/v1/apikeys/" + kid, token=token)
    d.go("apikeys.detail.lower-case", "GET", "/v1/apikeys/" + kid.lower(), token=token)
    d.go("apikeys.detail.unknown", "GET", "/v1/apikeys/" + new_ulid(), token=token)
    d.go("apikeys.detail.garbage", "GET", "/v1/apikeys/garbage", token=token)
    d.go("apikeys.detail.foreign", "GET", "/v1/apikeys/" + owner["key"].get("id", ""), token=token)
    d.go("apikeys.detail.client-id", "GET", "/v1/apikeys/" + full.get("client_id", ""), token=token)

    path = "/v1/apikeys/" + kid
    bad_bodies(d, "apikeys.update", "PUT", path, token=token)
    d.go("apikeys.update.good", "PUT", path, {"name": "Renamed"}, token=token)
    d.go("apikeys.update.same-id", "PUT", path, {"id": kid, "name": "Renamed again"}, token=token)
    d.go("apikeys.update.other-id", "PUT", path, {"id": new_ulid(), "name": "x"}, token=token)
    d.go("apikeys.update.missing-name", "PUT", path, {}, token=token)
    for field, value in [("client_id", "x"), ("client_secret", "x"), ("org_id", main["org_id"]),
                         ("project_id", project), ("created_by", main["user_id"]), ("source", "x"),
                         ("user_agent", "x"), ("last_used", "2020-01-01T00:00:00Z"),
                         ("permissions", ["publisher"])]:
        d.go("apikeys.update.restricted-" + field, "PUT", path, {"name": "x", field: value}, token=token)
    d.go("apikeys.update.unknown", "PUT", "/v1/apikeys/" + new_ulid(), {"name": "x"}, token=token)
    d.go("apikeys.update.garbage", "PUT", "/v1/apikeys/garbage", {"name": "x"}, token=token)
    d.go("apikeys.update.zero", "PUT", "/v1/apikeys/" + ZERO_ULID, {"name": "x"}, token=token)
    d.go("apikeys.update.foreign", "PUT", "/v1/apikeys/" + owner["key"].get("id", ""), {"name": "x"},
         token=token)

    third = d.quiet("POST", "/v1/apikeys", {"name": "Third", "project_id": project,
                                            "permissions": ["publisher"]}, token=token)
    page = d.go("apikeys.list.page1", "GET", "/v1/apikeys?page_size=2", token=token)
    mark = page.get("next_page_token", "")
    d.go("apikeys.list.page2", "GET", "/v1/apikeys?next_page_token=" + mark, token=token)
    d.go("apikeys.list.page2-other-size", "GET", "/v1/apikeys?page_size=1&next_page_token=" + mark, token=token)
    d.go("apikeys.list.project", "GET", "/v1/apikeys?project_id=" + project, token=token)
    d.go("apikeys.list.project-unknown", "GET", "/v1/apikeys?project_id=" + new_ulid(), token=token)
    d.go("apikeys.list.project-garbage", "GET", "/v1/apikeys?project_id=garbage", token=token)
    paging_errors(d, "apikeys.list", "/v1/apikeys", token)
    return full, part, third


def apikeys_removal(d, owner, main, key, part, third):
    """After the chapters that use the key."""
    token = main["token"]
    d.go("apikeys.list.after-use", "GET", "/v1/apikeys?page_size=100", token=token)
    d.go("apikeys.delete.garbage", "DELETE", "/v1/apikeys/garbage", token=token)
    d.go("apikeys.delete.unknown", "DELETE", "/v1/apikeys/" + new_ulid(), token=token)
    d.go("apikeys.delete.foreign", "DELETE", "/v1/apikeys/" + owner["key"].get("id", ""), token=token)
    d.go("apikeys.delete.by-key-itself", "DELETE", "/v1/apikeys/" + key["id"], token=key["access"])
    d.go("apikeys.delete.good", "DELETE", "/v1/apikeys/" + key["id"], token=token)
    d.go("apikeys.delete.again", "DELETE", "/v1/apikeys/" + key["id"], token=token)
    d.go("apikeys.detail.deleted", "GET", "/v1/apikeys/" + key["id"], token=token)
    d.go("authenticate.deleted-key", "POST", "/v1/authenticate",
         {"client_id": key["client_id"], "client_secret": key["client_secret"]})
    d.go("apikeys.permissions-live-token-of-deleted-key", "GET", "/v1/apikeys/permissions",
         token=key["access"])
    if key.get("ripe"):
        d.go("refresh.deleted-key", "POST", "/v1/refresh", {"refresh_token": key["ripe"]})
    else:
        d.skip("refresh.deleted-key", "needs ENSIGN_SIGNING_KEY")
    d.go("apikeys.delete.other", "DELETE", "/v1/apikeys/" + part.get("id", ""), token=token)
    d.go("projects.detail.with-revoked", "GET", "/v1/projects/" + main["project"], token=token)


def organizations(d, owner, main):
    token, org = main["token"], main["org_id"]
    path = "/v1/organizations/" + org
    d.go("organizations.list", "GET", "/v1/organizations", token=token)
    paging_errors(d, "organizations.list", "/v1/organizations", token)
    d.go("organizations.detail.good", "GET", path, token=token)
    d.go("organizations.detail.lower-case", "GET", "/v1/organizations/" + org.lower(), token=token)
    d.go("organizations.detail.foreign", "GET", "/v1/organizations/" + owner["org_id"], token=token)
    d.go("organizations.detail.unknown", "GET", "/v1/organizations/" + new_ulid(), token=token)
    d.go("organizations.detail.garbage", "GET", "/v1/organizations/garbage", token=token)
    bad_bodies(d, "organizations.update", "PUT", path, token=token)
    good = {"id": org, "name": "New Name " + d.run, "domain": "new-" + d.run}
    for field in good:
        d.go("organizations.update.missing-" + field, "PUT", path,
             {k: v for k, v in good.items() if k != field}, token=token)
    d.go("organizations.update.blank-name", "PUT", path, dict(good, name="  "), token=token)
    d.go("organizations.update.good", "PUT", path, dict(good, name="  %s " % good["name"]), token=token)
    d.go("organizations.update.upper-case-domain", "PUT", path, dict(good, domain="NEW-" + d.run), token=token)
    d.go("organizations.update.taken-domain", "PUT", path, dict(good, domain=owner["domain"]), token=token)
    d.go("organizations.update.foreign-path", "PUT", "/v1/organizations/" + owner["org_id"],
         dict(good, id=owner["org_id"]), token=token)
    d.go("organizations.update.garbage-path", "PUT", "/v1/organizations/garbage", good, token=token)
    d.go("organizations.update.unknown-id-in-body", "PUT", path, dict(good, id=new_ulid()), token=token)
    victim = d.person("victim")
    d.go("organizations.update.foreign-id-in-body", "PUT", path,
         {"id": victim["org_id"], "name": "Taken over", "domain": "taken-" + d.run}, token=token)
    d.go("organizations.update.foreign-id-in-body-effect", "GET",
         "/v1/organizations/" + victim["org_id"], token=victim["token"])
    d.quiet("PUT", path, dict(good, domain=main["domain"]), token=token)
    d.go("organizations.detail.after-update", "GET", path, token=token)

    d.go("workspace.own", "GET", "/v1/workspace?domain=" + main["domain"], token=token)
    d.go("workspace.own-check", "GET", "/v1/workspace?check_available=true&domain=" + main["domain"], token=token)
    d.know("owner.domain", owner["domain"])
    d.go("workspace.foreign", "GET", "/v1/workspace?domain=" + owner["domain"], token=token)
    d.go("workspace.upper-case", "GET", "/v1/workspace?domain=" + main["domain"].upper(), token=token)
    d.go("workspace.unknown", "GET", "/v1/workspace?domain=free-" + d.run, token=token)
    d.go("workspace.unknown-check", "GET", "/v1/workspace?check_available=1&domain=free-" + d.run, token=token)
    d.go("workspace.check-garbage", "GET", "/v1/workspace?check_available=x&domain=free-" + d.run, token=token)
    d.go("workspace.missing", "GET", "/v1/workspace", token=token)
    d.go("workspace.unauthenticated", "GET", "/v1/workspace?domain=x")


def invites(d, owner, main):
    """Brings a member, an observer and an admin into the main organization."""
    token = main["token"]
    bad_bodies(d, "invites.create", "POST", "/v1/invites", token=token)
    d.go("invites.create.missing-email", "POST", "/v1/invites", {"role": "Member"}, token=token)
    d.go("invites.create.missing-role", "POST", "/v1/invites", {"email": "x@example.com"}, token=token)
    d.go("invites.create.unknown-role", "POST", "/v1/invites",
         {"email": "x@example.com", "role": "member"}, token=token)
    d.go("invites.create.self", "POST", "/v1/invites", {"email": main["email"], "role": "Member"}, token=token)
    d.go("invites.create.unauthenticated", "POST", "/v1/invites", {"email": "x@example.com", "role": "Member"})
    d.go("invites.create.api-key", "POST", "/v1/invites", {"email": "x@example.com", "role": "Member"},
         token=main["key"]["access"])
    d.go("invites.create.not-an-address", "POST", "/v1/invites", {"email": "nonsense", "role": "Member"},
         token=token)
    member, observer, admin = (d.person(n) for n in ("member", "observer", "admin"))
    newcomer = d.know("newcomer.email", "newcomer-%s@example.com" % d.run)
    d.go("invites.create.newcomer", "POST", "/v1/invites", {"email": newcomer, "role": "Member"}, token=token)
    d.go("invites.create.newcomer-again", "POST", "/v1/invites", {"email": newcomer, "role": "Admin"}, token=token)
    d.go("invites.create.known-user", "POST", "/v1/invites",
         {"email": member["email"], "role": "Member"}, token=token)
    d.go("invites.preview.garbage", "GET", "/v1/invites/garbage")
    d.go("invites.list", "GET", "/v1/invites", keep_headers=["Allow"])
    d.go("invites.preview.newcomer", "GET", "/v1/invites/" + d.mailed(newcomer, "invite"))
    invite = d.mailed(member["email"], "invite")
    d.record("invites.token-shape", {"length": len(invite)})
    d.go("invites.preview.known-user", "GET", "/v1/invites/" + invite)

    path = "/v1/invites/accept"
    bad_bodies(d, "invites.accept", "POST", path, token=member["token"])
    d.go("invites.accept.unauthenticated", "POST", path, {"token": invite})
    d.go("invites.accept.missing-token", "POST", path, {}, token=member["token"])
    d.go("invites.accept.unknown", "POST", path, {"token": "unknown"}, token=member["token"])
    d.go("invites.accept.other-user", "POST", path, {"token": invite}, token=observer["token"])
    d.go("invites.accept.api-key", "POST", path, {"token": invite}, token=main["key"]["access"])
    reply = d.go("invites.accept.good", "POST", path, {"token": invite}, token=member["token"])
    d.pair("invites.accept", reply)
    member["home"], member["token"] = member["token"], reply.get("access_token", "")
    for _ in range(20):     # used invitations are removed in the background
        if d.call("GET", "/v1/invites/" + invite).status_code != 200:
            break
        time.sleep(0.1)
    d.go("invites.accept.again", "POST", path, {"token": invite}, token=member["token"])
    d.go("invites.preview.used", "GET", "/v1/invites/" + invite)
    d.go("invites.create.already-member", "POST", "/v1/invites",
         {"email": member["email"], "role": "Admin"}, token=token)

    d.quiet("POST", "/v1/invites", {"email": observer["email"], "role": "Observer"}, token=token)
    reply = d.go("login.with-invite", "POST", "/v1/login",
                 {"email": observer["email"], "password": PASSWORD,
                  "invite_token": d.mailed(observer["email"], "invite")})
    d.pair("login.with-invite", reply)
    observer["token"] = reply.get("access_token", "")
    d.quiet("POST", "/v1/invites", {"email": admin["email"], "role": "Admin"}, token=token)
    older = d.mailed(admin["email"], "invite")
    d.quiet("POST", "/v1/invites", {"email": admin["email"], "role": "Admin"}, token=token)
    invite = d.mailed(admin["email"], "invite")
    d.go("login.with-invite-wrong-user", "POST", "/v1/login",
         {"email": member["email"], "password": PASSWORD, "invite_token": invite})
    admin["token"] = d.login(admin["email"], invite_token=invite)
    d.record("login.admin-token", d.token_facts(admin["token"]))
    d.go("invites.accept.second-invitation-of-member", "POST", path, {"token": older}, token=admin["token"])
    time.sleep(0.5)         # last-login times are written in the background
    d.go("login.default-is-last-used-org", "POST", "/v1/login",
         {"email": observer["email"], "password": PASSWORD})
    d.record("login.default-org", {"is invited org": d.claims(
        d.login(observer["email"]))["org"] == main["org_id"]})

    reply = d.go("switch.good", "POST", "/v1/switch", {"org_id": member["org_id"]}, token=member["token"])
    d.pair("switch", reply)
    d.go("organizations.list-of-two", "GET", "/v1/organizations", token=member["token"])
    page = d.go("organizations.list.page1", "GET", "/v1/organizations?page_size=1", token=member["token"])
    d.go("organizations.list.page2", "GET",
         "/v1/organizations?next_page_token=" + page.get("next_page_token", ""), token=member["token"])
    return member, observer, admin


def roles(d, owner, main, member, observer, admin):
    """Who may do what: status only, the shapes are covered elsewhere."""
    spare = d.quiet("POST", "/v1/apikeys", {"name": "Spare", "project_id": main["project"],
                                            "permissions": ["publisher"]}, token=main["token"])
    attempts = [
        ("list-projects", "GET", "/v1/projects", None),
        ("create-project-without-id", "POST", "/v1/projects", {}),
        ("project-access", "POST", "/v1/projects/access", {"project_id": main["project"]}),
        ("list-keys", "GET", "/v1/apikeys", None),
        ("create-key-without-name", "POST", "/v1/apikeys", {}),
        ("update-key", "PUT", "/v1/apikeys/" + spare.get("id", ""), {}),
        ("delete-unknown-key", "DELETE", "/v1/apikeys/" + new_ulid(), None),
        ("read-organization", "GET", "/v1/organizations/" + main["org_id"], None),
        ("update-organization", "PUT", "/v1/organizations/" + main["org_id"], {}),
        ("workspace", "GET", "/v1/workspace?domain=" + main["domain"], None),
        ("list-users", "GET", "/v1/users", None),
        ("update-user", "PUT", "/v1/users/" + member["user_id"], {}),
        ("change-role", "POST", "/v1/users/" + member["user_id"], {}),
        ("remove-unknown-user", "DELETE", "/v1/users/" + new_ulid(), None),
        ("invite-without-email", "POST", "/v1/invites", {}),
    ]
    for label, user in [("admin", admin), ("member", member), ("observer", observer),
                        ("key", {"token": main["key"]["access"]})]:
        table = {name: d.call(method, path, body, token=user["token"]).status_code
                 for name, method, path, body in attempts}
        d.record("roles." + label, table)
        d.go("apikeys.permissions-" + label, "GET", "/v1/apikeys/permissions", token=user["token"])
    d.go("projects.create.as-observer", "POST", "/v1/projects", {"project_id": new_ulid()},
         token=observer["token"])
    if d.key:
        weak = d.altered(main["token"], permissions=["apikeys:edit"])
        for name, wanted in [("publisher", "publisher"), ("topics", "topics:read"),
                             ("metrics", "metrics:read")]:
            d.go("apikeys.create.beyond-own-" + name, "POST", "/v1/apikeys",
                 {"name": "w", "project_id": main["project"], "permissions": [wanted]}, token=weak)
    else:
        d.skip("apikeys.create.beyond-own-publisher apikeys.create.beyond-own-topics "
               "apikeys.create.beyond-own-metrics", "needs ENSIGN_SIGNING_KEY")


def users(d, owner, main, member, observer, admin):
    token = main["token"]
    d.go("users.list.all", "GET", "/v1/users", token=token)
    page = d.go("users.list.page1", "GET", "/v1/users?page_size=3", token=token)
    d.go("users.list.page2", "GET", "/v1/users?next_page_token=" + page.get("next_page_token", ""),
         token=token)
    paging_errors(d, "users.list", "/v1/users", token)
    d.go("users.detail.self", "GET", "/v1/users/" + main["user_id"], token=token)
    d.go("users.detail.member", "GET", "/v1/users/" + member["user_id"], token=token)
    d.go("users.detail.unknown", "GET", "/v1/users/" + new_ulid(), token=token)
    d.go("users.detail.garbage", "GET", "/v1/users/garbage", token=token)
    d.go("users.detail.foreign", "GET", "/v1/users/" + owner["user_id"], token=token)

    path = "/v1/users/" + member["user_id"]
    bad_bodies(d, "users.update", "PUT", path, token=token)
    d.go("users.update.missing-id", "PUT", path, {"name": "x"}, token=token)
    d.go("users.update.missing-name", "PUT", path, {"user_id": member["user_id"]}, token=token)
    d.go("users.update.other-id", "PUT", path, {"user_id": new_ulid(), "name": "x"}, token=token)
    d.go("users.update.good", "PUT", path, {"user_id": member["user_id"], "name": "Renamed " + d.run,
                                            "email": "new@example.com", "role": "Owner"}, token=token)
    d.go("users.update.effect", "GET", path, token=token)
    d.go("users.update.foreign", "PUT", "/v1/users/" + owner["user_id"],
         {"user_id": owner["user_id"], "name": "x"}, token=token)
    d.go("users.update.garbage", "PUT", "/v1/users/garbage", {"name": "x"}, token=token)

    bad_bodies(d, "users.role", "POST", path, token=token)
    d.go("users.role.missing", "POST", path, {}, token=token)
    d.go("users.role.unknown", "POST", path, {"role": "King"}, token=token)
    d.go("users.role.lower-case", "POST", path, {"role": "admin"}, token=token)
    d.go("users.role.same", "POST", path, {"role": "Member"}, token=token)
    d.go("users.role.other-id", "POST", path, {"id": new_ulid(), "role": "Admin"}, token=token)
    d.go("users.role.unknown-user", "POST", "/v1/users/" + new_ulid(), {"role": "Admin"}, token=token)
    d.go("users.role.zero-user", "POST", "/v1/users/" + ZERO_ULID, {"role": "Admin"}, token=token)
    d.go("users.role.garbage-user", "POST", "/v1/users/garbage", {"role": "Admin"}, token=token)
    d.go("users.role.foreign", "POST", "/v1/users/" + owner["user_id"], {"role": "Admin"}, token=token)
    d.go("users.role.only-owner", "POST", "/v1/users/" + main["user_id"], {"role": "Admin"}, token=token)
    d.go("users.role.good", "POST", path, {"id": member["user_id"], "role": "Admin"}, token=token)
    if d.key:
        stale = d.altered(member["token"], aud=[d.audience, d.issuer + "/v1/refresh"])
        d.pair("refresh.after-role-change", d.go("refresh.after-role-change", "POST", "/v1/refresh",
                                                 {"refresh_token": stale}))
    else:
        d.skip("refresh.after-role-change", "needs ENSIGN_SIGNING_KEY")
    d.go("users.role.admin-makes-owner", "POST", path, {"role": "Owner"}, token=admin["token"])
    d.go("users.role.back", "POST", path, {"role": "Member"}, token=token)
    d.record("users.role.old-token-keeps-permissions", {
        "status": d.call("GET", "/v1/users", token=member["token"]).status_code})

    own = "/v1/accounts/" + main["user_id"]
    bad_bodies(d, "accounts.update", "PUT", own, token=token)
    d.go("accounts.update.good", "PUT", own, {"user_id": main["user_id"], "name": "Main " + d.run}, token=token)
    d.go("accounts.update.missing-id", "PUT", own, {"name": "x"}, token=token)
    d.go("accounts.update.missing-name", "PUT", own, {"user_id": main["user_id"]}, token=token)
    d.go("accounts.update.other-id", "PUT", own, {"user_id": new_ulid(), "name": "x"}, token=token)
    d.go("accounts.update.other-user", "PUT", "/v1/accounts/" + member["user_id"],
         {"user_id": member["user_id"], "name": "x"}, token=token)
    d.go("accounts.update.garbage", "PUT", "/v1/accounts/garbage", {"name": "x"}, token=token)
    d.go("accounts.update.unauthenticated", "PUT", own, {"name": "x"})
    d.go("accounts.update.as-observer", "PUT", "/v1/accounts/" + observer["user_id"],
         {"user_id": observer["user_id"], "name": "Observer " + d.run}, token=observer["token"])
    d.go("accounts.get", "GET", own, token=token, keep_headers=["Allow"])


def removal(d, owner, main, member, observer, admin):
    token = main["token"]
    d.go("users.remove.garbage", "DELETE", "/v1/users/garbage", token=token)
    d.go("users.remove.unknown", "DELETE", "/v1/users/" + new_ulid(), token=token)
    d.go("users.remove.foreign", "DELETE", "/v1/users/" + owner["user_id"], token=token)
    d.go("users.remove.without-keys", "DELETE", "/v1/users/" + observer["user_id"], token=token)
    d.go("users.remove.again", "DELETE", "/v1/users/" + observer["user_id"], token=token)
    d.record("users.remove.old-token-still-works", {
        "status": d.call("GET", "/v1/projects", token=observer["token"]).status_code})
    if d.key:
        d.go("refresh.removed-user", "POST", "/v1/refresh", {"refresh_token": d.altered(
            observer["token"], aud=[d.audience, d.issuer + "/v1/refresh"])})
    else:
        d.skip("refresh.removed-user", "needs ENSIGN_SIGNING_KEY")
    d.go("login.removed-from-default-org", "POST", "/v1/login",
         {"email": observer["email"], "password": PASSWORD})
    d.go("login.removed-org-named", "POST", "/v1/login",
         {"email": observer["email"], "password": PASSWORD, "org_id": main["org_id"]})

    key = d.quiet("POST", "/v1/apikeys", {"name": "Member Key", "project_id": main["project"],
                                          "permissions": ["publisher"]}, token=member["token"])
    path = "/v1/users/" + member["user_id"]
    reply = d.call("DELETE", path, token=token)
    body = reply.json()
    confirm = body.get("token", "")
    d.record("users.remove.with-keys", {
        "status": reply.status_code, "keys": sorted(body), "api_keys": body.get("api_keys"),
        "deleted": body.get("deleted"), "token": "absent" if not confirm else "present"})
    d.go("users.remove.with-keys-still-there", "GET", path, token=token)
    d.go("users.confirm.unauthenticated", "DELETE", path + "/confirm", {"token": confirm})
    d.go("users.confirm.as-observer", "DELETE", path + "/confirm", {"token": confirm}, token=observer["token"])
    bad_bodies(d, "users.confirm", "DELETE", path + "/confirm", token=token)
    d.go("users.confirm.missing-token", "DELETE", path + "/confirm", {}, token=token)
    d.go("users.confirm.garbage-path", "DELETE", "/v1/users/garbage/confirm", {"token": confirm}, token=token)
    d.go("users.confirm.post-not-allowed", "POST", path + "/confirm", {"token": confirm}, token=token,
         keep_headers=["Allow"])
    d.go("users.confirm.wrong-token", "DELETE", path + "/confirm", {"token": "unknown"}, token=token)
    d.go("users.confirm.other-user-in-path", "DELETE", "/v1/users/%s/confirm" % admin["user_id"],
         {"id": admin["user_id"], "token": confirm}, token=token)
    d.go("users.confirm.other-user-effect-on-path", "GET", "/v1/users/" + admin["user_id"], token=token)
    d.go("users.confirm.again", "DELETE", path + "/confirm", {"token": confirm}, token=token)
    d.go("users.confirm.effect-on-user", "GET", path, token=token)
    d.go("users.confirm.effect-on-key", "POST", "/v1/authenticate",
         {"client_id": key.get("client_id", ""), "client_secret": key.get("client_secret", "")})
    d.go("users.confirm.effect-on-login", "POST", "/v1/login",
         {"email": member["email"], "password": PASSWORD})

    # A person whose only organization removes them
    lone = d.person("lone")
    second = d.person("second")
    d.quiet("POST", "/v1/invites", {"email": second["email"], "role": "Owner"}, token=lone["token"])
    second["token"] = d.login(second["email"], invite_token=d.mailed(second["email"], "invite"))
    d.go("users.remove.owner-with-another-owner", "DELETE", "/v1/users/" + lone["user_id"],
         token=second["token"])
    d.go("login.removed-from-only-org", "POST", "/v1/login", {"email": lone["email"], "password": PASSWORD})
    d.go("register.after-removal-from-only-org", "POST", "/v1/register", dict(
        name="Back", email=lone["email"], password=PASSWORD, pwcheck=PASSWORD, organization="Back",
        domain="back-" + d.run, terms_agreement=True, privacy_agreement=True))
    d.go("users.remove.only-owner", "DELETE", "/v1/users/" + second["user_id"], token=second["token"])
    project = new_ulid()
    d.quiet("POST", "/v1/projects", {"project_id": project}, token=second["token"])
    d.quiet("POST", "/v1/apikeys", {"name": "Owner Key", "project_id": project,
                                    "permissions": ["publisher"]}, token=second["token"])
    reply = d.call("DELETE", "/v1/users/" + second["user_id"], token=second["token"])
    d.record("users.remove.only-owner-with-keys", {"status": reply.status_code, "keys": sorted(reply.json())})
    d.go("users.confirm.only-owner", "DELETE", "/v1/users/%s/confirm" % second["user_id"],
         {"token": reply.json().get("token", "x")}, token=second["token"])
    d.go("users.confirm.only-owner-keeps-keys", "GET", "/v1/apikeys", token=second["token"])
    d.go("users.list.at-the-end", "GET", "/v1/users", token=second["token"])


def run(out):
    d = Differ(os.environ)

    def chapter(function, *args):
        """One chapter; a server which breaks its assumptions only loses that chapter."""
        try:
            return function(d, *args)
        except Exception:
            d.record(function.__name__ + " (chapter)", {"aborted": traceback.format_exc(limit=-1)
                                                        .strip().splitlines()[-1][:120]})
            traceback.print_exc()

    def main_user():
        main = d.person("main")
        reply = d.quiet("POST", "/v1/login", {"email": main["email"], "password": PASSWORD})
        main["token"], main["refresh"] = reply["access_token"], reply["refresh_token"]
        return main

    well_known(d)
    chapter(public_routes)
    owner = owner_login(d)
    reg = chapter(register, owner)
    chapter(login_and_verify, owner, reg)
    if d.token_cmd:
        main = main_user()
        chapter(projects, owner, main)
        key, part, third = chapter(apikeys, owner, main) or (None, None, None)
        chapter(authenticate, main, key)
        chapter(bearer, main, key)
        chapter(refresh, owner, main, key)
        chapter(switch, owner, main, key)
        chapter(organizations, owner, main)
        people = chapter(invites, owner, main) or (None, None, None)
        chapter(roles, owner, main, *people)
        chapter(users, owner, main, *people)
        chapter(apikeys_removal, owner, main, key, part, third)
        chapter(removal, owner, main, *people)
    else:
        d.skip("later-chapters", "needs ENSIGN_VERIFY_TOKEN_CMD")
    with open(out, "w") as handle:
        json.dump(d.cases, handle, indent=1, sort_keys=True)
        handle.write("\n")
    print("%d cases written" % len(d.cases))


# --------------------------------------------------------------------------------------
# Comparing
# --------------------------------------------------------------------------------------

def intended():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "intended-rest.json")
    path = os.environ.get("ENSIGN_DIFFER_INTENDED", beside)
    if not os.path.exists(path):
        return {}
    with open(path) as handle:
        return json.load(handle)


def reason_for(name, wanted):
    if name in wanted:
        return wanted[name]
    for pattern, reason in wanted.items():
        if pattern.endswith("*") and name.startswith(pattern[:-1]):
            return reason
    return None


def differences(a, b, where=""):
    """Flat list of 'path: left -> right'."""
    if isinstance(a, dict) and isinstance(b, dict):
        out = []
        for key in sorted(set(a) | set(b)):
            out += differences(a.get(key, "(absent)"), b.get(key, "(absent)"),
                               where + "." + key if where else key)
        return out
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        out = []
        for i, (x, y) in enumerate(zip(a, b)):
            out += differences(x, y, "%s[%d]" % (where, i))
        return out
    return [] if a == b else ["%s: %s -> %s" % (where, json.dumps(a), json.dumps(b))]


def compare(left, right):
    with open(left) as handle:
        a = json.load(handle)
    with open(right) as handle:
        b = json.load(handle)
    wanted, bad, excused = intended(), 0, 0
    for name in sorted(a):
        found = differences(a[name], b.get(name, "(no such case)"))
        if not found:
            continue
        reason = reason_for(name, wanted)
        if reason:
            excused += 1
            print("intended  %s: %s" % (name, reason))
            continue
        bad += 1
        print("DIFFERS   %s" % name)
        for line in found:
            print("            " + line)
    print("%d cases, %d differ, %d intended" % (len(a), bad, excused))
    return 1 if bad else 0


if __name__ == "__main__":
    args = sys.argv[1:]
    if len(args) == 3 and args[0] == "--compare":
        sys.exit(compare(args[1], args[2]))
    if len(args) != 1 or args[0].startswith("-"):
        sys.exit(__doc__)
    run(args[0])
