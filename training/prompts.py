"""System prompts: a world's facts in many wordings, shaped as the app shapes them."""

import re

from training.grammar import load, pick
from training.world import FACTS, Inventor, World

FORMS = {
    "you": ("you", "", "are", "have", "were", "your", "you", "do"),
    "she": ("she", "s", "is", "has", "was", "her", "her", "does"),
    "he": ("he", "s", "is", "has", "was", "his", "him", "does"),
    "they": ("they", "", "are", "have", "were", "their", "them", "do"),
    "i": ("I", "", "am", "have", "was", "my", "me", "do"),
}


def inflect(template: str, person: str, subject: str) -> str:
    """`template` with its <marks> set for `person`; `subject` stands for <S>."""
    pronoun, s, is_, has, was, his, him, does = FORMS[person]
    if subject[0].isupper() and person == "they" and subject != "They":
        s, is_, has, was, does = "s", "is", "has", "was", "does"  # a name is singular
    marks = {
        "<S>": subject, "<s0>": pronoun, "<s>": s, "<es>": "es" if s else "",
        "<ies>": "ies" if s else "y", "<is>": is_, "<has>": has, "<has1>": "has", "<was>": was,
        "<his>": his, "<His>": his.capitalize(), "<him>": him, "<does>": does,
    }  # fmt: skip
    return re.sub(r"<\w+>", lambda mark: marks.get(mark.group(), mark.group()), template)


class PromptWriter:
    """Writes one system prompt for a world and records what it states."""

    def __init__(self, world: World, inventor: Inventor, user: str | None, length: str) -> None:
        self.world = world
        self.inventor = inventor
        self.rng = inventor.rng
        self.user = user
        self.length = length  # short, middle or long
        self.person = "you" if self.rng.random() < 0.5 else world.pronoun
        if self.rng.random() < 0.05:
            self.person = "i"
        self.known = {**world.values, "adj1": world.adjectives[0], "adj2": world.adjectives[1]}
        if user:
            self.known["user"] = user
        self.mood_is_stated = False

    def write(self) -> str:
        shape = self.rng.choices(("app", "paragraph", "sheet"), (0.7, 0.22, 0.08))[0]
        facts = self._drawn_facts()
        self.world.stated = set(facts)
        return str(getattr(self, f"_{shape}")(facts))

    def _app(self, facts: list[str]) -> str:
        """The shape of the app's prompt builder: parts apart by blank lines."""
        scene = [fact for fact in facts if fact in ("time", "event")]
        about = [fact for fact in facts if fact not in scene]
        if "place" in about and self.rng.random() < 0.3:
            about.remove("place")
            scene.append("place")
        parts = [self._head(), self._body(about)]
        style = self._style_line()
        if style and self.rng.random() < 0.5:
            parts.append(f"{self.world.name}'s personality: {self._personality()} {style}")
        elif self.rng.random() < 0.6:
            parts.append(f"{self.world.name}'s personality: {self._personality()}")
            parts[1] = f"{parts[1]} {style}" if style else parts[1]
        elif style:
            parts[1] = f"{parts[1]} {style}"
        lines = [self._state(fact) for fact in scene]
        if self.user and self.rng.random() < 0.4:
            lines.append(self._line("user_line"))
        lines += [self._filler() for _ in range(self.rng.choice((0, 0, 1, 2)))]
        if lines:
            self.rng.shuffle(lines)
            parts.append("Scenario: " + " ".join(lines))
        return "\n\n".join(part.strip() for part in parts if part.strip())

    def _paragraph(self, facts: list[str]) -> str:
        lines = [self._body(facts), self._style_line(), self._rules()]
        if self.user:
            lines.insert(self.rng.randrange(1, 4), self._line("user_line"))
        if self.rng.random() < 0.5:
            lines.insert(0, self._line("head_free"))
        return " ".join(line for line in lines if line)

    def _sheet(self, facts: list[str]) -> str:
        rows = [f"Name: {self.world.name}"]
        rows += [f"{fact.capitalize()}: {self._bare(fact)}" for fact in facts]
        tail = [self._style_line(), self._rules()]
        if self.user:
            tail.insert(0, self._line("user_line"))
        head = self._line("head_free") if self.rng.random() < 0.5 else ""
        return "\n".join(part for part in (head, *rows, " ".join(filter(None, tail))) if part)

    def _drawn_facts(self) -> list[str]:
        """Which facts are said: trade and place mostly, others by the prompt's length."""
        more = {"short": (0, 1, 2), "middle": (2, 3, 4, 5), "long": (5, 6, 8, 10)}[self.length]
        others = [fact for fact in FACTS if fact not in ("trade", "place")]
        facts = [fact for fact in ("trade", "place") if self.rng.random() < 0.8]
        return facts + self.rng.sample(others, self.rng.choice(more))

    def _head(self) -> str:
        roll = self.rng.random()
        if roll < 0.6:
            head = self._line("head_user" if self.user else "head")
        else:
            head = self._line("head_free")
            if self.user and self.user not in head:
                head += " " + self._line("user_line")
        return f"{head} {self._rules()}" if self.rng.random() < 0.6 else head

    def _body(self, facts: list[str]) -> str:
        """The facts as running text, with other people's business in between."""
        rest = list(facts)
        first = self._opening(rest)
        self.rng.shuffle(rest)
        lines = [self._state(fact) for fact in rest]
        if self.rng.random() < 0.25:
            self.mood_is_stated = True
            lines.append(self._line("mood_line"))
        if self.rng.random() < 0.3:
            lines.append(self._line("task_line"))
        count = {"short": (0, 0, 1), "middle": (0, 1, 2), "long": (3, 5, 8)}[self.length]
        for _ in range(self.rng.choice(count)):
            lines.insert(self.rng.randint(0, len(lines)), self._filler())
        return " ".join([first, *lines])

    def _opening(self, rest: list[str]) -> str:
        """The first sentence; what it says is taken out of `rest`."""
        key = "first_you" if self.person == "you" else "first_she"
        allowed = {"name": self.world.name}
        if "trade" in rest:
            allowed |= {key: self.known[key] for key in ("trade", "a_trade")}
        if "place" in rest:
            allowed |= {"inplace": self.known["inplace"]}
        line = pick(load("prompt")[key], allowed, self.rng)
        if line is None:
            return f"You are {self.world.name}." if self.person == "you" else ""
        for fact, key in (("trade", "trade"), ("place", "inplace")):
            if fact in rest and self.known[key] in line:
                rest.remove(fact)
        return (
            line.replace(f"{self.world.name} is", f"I am {self.world.name},", 1)
            if (self.person == "i")
            else line
        )

    def _state(self, fact: str) -> str:
        """A sentence that states `fact`, its value spelled as it is."""
        return self._say(self.rng.choice(load("facts")[fact]["state"]))

    def _bare(self, fact: str) -> str:
        text = pick([load("facts")[fact]["value"]], self.known, self.rng)
        assert text is not None, fact
        return text

    def _line(self, key: str) -> str:
        return self._say(self.rng.choice(load("prompt")[key]))

    def _say(self, template: str) -> str:
        """A template as a sentence; what it lacks is drawn anew, so it always can be said."""
        subject = FORMS[self.person][0].capitalize()
        if self.person not in ("you", "i") and self.rng.random() < 0.4:
            subject = self.world.name
        template = template.replace("{task<s0>}", self._task_of())
        known = {**scenery(self.inventor), "user": "the user", **self.known}
        text = pick([inflect(template, self.person, subject)], known, self.rng)
        assert text is not None, template
        return text

    def _task_of(self) -> str:
        verb, _, rest = self.world.values["task"].partition(" ")
        if self.person in ("you", "they", "i"):
            return f"{verb} {rest}"
        return f"{verb}{'es' if verb.endswith(('sh', 'ch', 'ss')) else 's'} {rest}".replace(
            "carrys", "carries"
        ).replace("copys", "copies")

    def _filler(self) -> str:
        return self._line("filler")

    def _personality(self) -> str:
        self.mood_is_stated = True
        allowed = {key: self.known[key] for key in ("adj1", "adj2")}
        allowed |= {key: self.known[key] for key in ("like", "fear") if key in self.world.stated}
        return f"{pick(load('prompt')['personality'], allowed, self.rng)}."

    def _style_line(self) -> str:
        if self.world.style == "plain":
            return ""
        return self._say(self.rng.choice(load("prompt")["style"][self.world.style]))

    def _rules(self) -> str:
        lines = [self._line("rule") for _ in range(self.rng.choice((0, 1, 1, 2)))]
        if self.rng.random() < 0.5:
            lines.append(self._line("acts" if self.world.acts else "no_acts"))
        return " ".join(dict.fromkeys(lines))


def scenery(inventor: Inventor) -> dict[str, str]:
    """Fresh words for whatever is not a fact: things, animals, other people, endings."""
    rng = inventor.rng
    animal, animal2 = inventor.word("animals"), inventor.word("animals")
    plurals = [inventor.word("plurals") for _ in range(3)]
    trade = inventor.trade()
    ending = rng.choice((
        "the town slept at last", "nobody ever asked again", "it all turned out well",
        "they lived on as friends", "it was only a dream", "the door was never locked again",
        "everyone got a piece of it", "it went back into the sea",
    ))  # fmt: skip
    together = rng.choice((
        "found the way home", "opened an inn", "built a boat", "sang until morning",
        "learned to laugh again", "shared the last bread",
    ))  # fmt: skip
    doing = inventor.fill("doings")
    first, second = inventor.article_thing(), inventor.article_thing()
    return {
        "a_adjthing": first, "a_adjthing2": second, "animal2": animal2,
        "a_animal2": inventor.article(animal2), "plurals": plurals[0], "plurals2": plurals[1],
        "plurals3": plurals[2], "trade2": trade, "a_trade2": inventor.article(trade),
        "it_ending": ending, "together": together, "number": inventor.word("numbers"),
        "number2": inventor.word("numbers"), "town2": inventor.town(),
        "other": inventor.first_name(), "other2": inventor.first_name(),
        "food2": inventor.word("foods"), "hobby": inventor.word("hobbies"), "doing": doing,
        "doing_you": doing.replace("my ", "your "), "doing_they": doing.replace("my ", "the "),
        "feeling": inventor.word("feelings"), "task2": inventor.word("tasks"), "animal3": animal,
    }  # fmt: skip
