"""Who may come in, from where, and as whom."""

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient

from hermes_ui.api.doors import OWNER_COOKIE, OWNER_HEADER, Doors, owner_of_token


async def tell_owner(scope, receive, send):
    owner = Request(scope).headers.getlist(OWNER_HEADER)
    await HTMLResponse(",".join(owner))(scope, receive, send)


def client(host: str = "127.0.0.1:7860", **doors: object) -> TestClient:
    return TestClient(Doors(tell_owner, **doors), base_url=f"http://{host}")


@pytest.mark.parametrize(
    "host",
    ["localhost:7860", "127.0.0.1", "192.168.1.20:7860", "[::1]:7860", "LOCALHOST"],
)
def test_local_names_and_plain_addresses_come_in(host):
    answer = client().get("/", headers={"host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_dns_could_rebind_stays_out(host):
    answer = client().get("/", headers={"host": host})

    assert answer.status_code == 403
    assert "HERMES_ALLOWED_HOSTS" in answer.text


def test_a_configured_name_comes_in():
    answer = client(host_names={"ava.hf.space"}).get("/", headers={"host": "Ava.hf.space"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param("http://127.0.0.1:7860", 200, id="own page"),
        pytest.param("http://127.0.0.1:9999", 403, id="another port"),
        pytest.param("https://evil.example", 403, id="another site"),
        pytest.param("null", 403, id="a sandboxed frame"),
    ],
)
def test_only_the_own_page_may_ask(origin, status):
    answer = client().post("/gradio_api/queue/join", headers={"origin": origin})

    assert answer.status_code == status


def test_an_owner_from_outside_is_not_believed():
    answer = client().get("/", headers={OWNER_HEADER: "somebody-else"})

    assert answer.text == "local"


def test_each_browser_gets_its_own_shelf_and_keeps_it():
    doors = Doors(tell_owner, owner_per_browser=True)
    first, second = (TestClient(doors, base_url="http://localhost") for _ in range(2))

    owners = [first.get("/").text, first.get("/").text, second.get("/").text]

    assert owners[0] == owners[1] != owners[2]
    assert owners[0] == owner_of_token(first.cookies[OWNER_COOKIE])


@pytest.mark.parametrize("foreign", ['prefs={"a":1}', "a b=1", "x=\xe9", "=", "lone"])
def test_cookies_of_other_apps_do_not_hide_the_shelf(foreign):
    doors = TestClient(Doors(tell_owner, owner_per_browser=True), base_url="http://localhost")
    owner = doors.get("/").text
    cookie = f"{foreign}; {OWNER_COOKIE}={doors.cookies[OWNER_COOKIE]}"
    doors.cookies.clear()

    answer = doors.get("/", headers={"cookie": cookie.encode("latin-1")})

    assert answer.text == owner
    assert "set-cookie" not in answer.headers


def test_the_cookie_is_hidden_from_scripts():
    answer = client(owner_per_browser=True).get("/")

    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Lax" in answer.headers["set-cookie"]


def test_behind_https_the_cookie_works_inside_a_frame():
    answer = client(owner_per_browser=True).get("/", headers={"x-forwarded-proto": "https"})

    assert "SameSite=None; Secure; Partitioned" in answer.headers["set-cookie"]


def test_nothing_may_be_loaded_from_elsewhere():
    policy = client().get("/").headers["content-security-policy"]

    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
