"""A conversation with a world's persona: what the user says, and what is answered.

Every answer uses only what the conversation has established: facts that the prompt states,
things that the user told, words of the user's own.
"""

import random
from dataclasses import dataclass, field

from training.grammar import expand, load, pick
from training.prompts import scenery
from training.speech import action, first_sentence, say
from training.typing_habits import typed
from training.world import FACTS, Inventor, World, with_article

FACT_KEYS = {
    "trade": ("trade", "a_trade"), "place": ("place", "inplace"),
    "companion": ("animal", "a_animal", "petname"), "item": ("item", "a_item"),
    "secret": ("secret", "a_secret"),
}  # fmt: skip

# How often a kind of turn comes up, relative to the others.
WEIGHTS = {
    "fact": 24, "name": 8, "identity": 20, "talk": 36, "told": 18, "recalled": 26, "both": 4,
    "is_it": 4,
}  # fmt: skip
RECALL_WEIGHT = 2.0  # in the loss, of an answer that says again what was told
OTHER_SHARE = 0.25  # of the questions what it is name another model
TALK = tuple(key for key in load("talk") if key not in ("name", "lost", "self"))
TOLD = tuple(load("people"))
TOLD_WEIGHTS = (10, 4, 4, 3, 4, 4, 4, 3, 4)  # for TOLD, the name first
BEFORE_TOLD = ("adjectives", "materials", "things", "colours")


@dataclass(slots=True)
class Turn:
    """One ChatML turn; `learned` is how much each of its tokens counts in its batch's loss."""

    role: str
    text: str
    learned: float = 0.0


@dataclass(slots=True)
class Talk:
    """A conversation in the making."""

    world: World
    inventor: Inventor
    known: dict[str, str]  # what may be used in an answer
    told: dict[str, dict[str, str]] = field(default_factory=dict)  # by kind, see people.yaml
    barred: set[str] = field(default_factory=set)  # facts that are not asked for
    turns: list[Turn] = field(default_factory=list)

    @property
    def rng(self) -> random.Random:
        return self.inventor.rng

    def exchange(self, user: str, reply: str, *, tail: bool = True, learned: float = 1.0) -> None:
        """The user's words, and the reply in the persona's own way."""
        self.turns.append(Turn("user", typed(user, self.inventor, self.known)))
        said = say(reply, self.world, self.words(), self.rng, tail=tail)
        self.turns.append(Turn("assistant", said, learned))

    def words(self) -> dict[str, str]:
        return {**scenery(self.inventor), **self.known}

    def step(self, kind: str | None = None) -> None:
        """One more exchange, of one of the kinds of WEIGHTS."""
        kinds, before = list(WEIGHTS), len(self.turns)
        while len(self.turns) == before:
            drawn = kind or self.rng.choices(kinds, list(WEIGHTS.values()))[0]
            getattr(self, f"_{drawn}")()

    def _fact(self) -> None:
        """Ask for a fact, mostly one that was stated."""
        stated = sorted(self.world.stated - self.barred)
        if stated and self.rng.random() < 0.86:
            fact = "place" if "place" in stated and self.rng.random() < 0.12 else (
                "trade" if "trade" in stated and self.rng.random() < 0.12
                else self.rng.choice(stated)
            )  # fmt: skip
        else:
            fact = self.rng.choice([fact for fact in FACTS if fact not in self.barred])
        asked, answer = self.about_fact(fact)
        self.exchange(asked, answer)

    def about_fact(self, fact: str) -> tuple[str, str]:
        """A question for `fact` and its answer, "I cannot say" where nothing states it."""
        rules, known = load("facts")[fact], self.words()
        asked = pick(rules["ask"], self.known, self.rng)
        if fact not in self.world.stated:
            answer = pick(rules["unknown"], known, self.rng)
        elif self.world.style == "terse" and self.rng.random() < 0.7:
            answer = pick(rules["short"], known, self.rng)
        else:
            answer = pick(rules["answer"], known, self.rng)
        assert asked, fact
        assert answer, fact
        return asked, answer

    def _name(self) -> None:
        kind = "self" if self.rng.random() < 0.3 else "name"
        self._small(kind)

    def _small(self, kind: str, **extra: str) -> None:
        rules, known = load("talk")[kind], {**self.words(), **extra}
        asked = pick(rules["user"], known, self.rng)
        if asked is None:  # this kind speaks of things only
            known["a_topicthing"] = self.inventor.article_thing()
            asked = pick(rules["user"], known, self.rng)
        assert asked, kind
        about = {key: known[key] for key in _ABOUT if key in known and known[key] in asked}
        if about:
            known["about"] = next(iter(about.values()))
        reply = self._reply(rules["reply"], known)
        assert reply, (kind, asked)
        self.exchange(asked, reply, tail=kind not in ("bye", "story", "more", "song"))

    def _reply(self, templates: list[str], known: dict[str, str]) -> str | None:
        """One of `templates`; of several the shortest for somebody of few words."""
        if self.world.style != "terse":
            return pick(templates, known, self.rng)
        drawn = [pick(templates, known, self.rng) for _ in range(8)]
        return min((text for text in drawn if text), key=_words_at_first, default=None)

    def _talk(self) -> None:
        kind = "lost" if self.rng.random() < 0.03 else self.rng.choice(TALK)
        if kind in ("story", "more"):
            kind = "story"
        extra = self._gibberish() if kind == "lost" else self._topic()
        self._small(kind, **extra)
        if kind == "story" and self.rng.random() < 0.4:
            self._small("more")

    def _topic(self) -> dict[str, str]:
        """One topic under one of its keys, so that it is plain what was spoken of."""
        roll, inventor = self.rng.random(), self.inventor
        if roll < 0.4:
            topic = inventor.word("topics")
            if self.rng.random() < 0.4:
                topic = self.rng.choice((
                    f"{inventor.word('plurals')} and {inventor.word('plurals')}",
                    f"the {inventor.thing()}", f"{inventor.word('adjectives')} "
                    f"{inventor.word('plurals')}", inventor.invented().lower(), inventor.town(),
                    f"the {inventor.word('things')} of {inventor.first_name()}",
                ))  # fmt: skip
            return {"topic": topic}
        if roll < 0.6:
            return {"topicname": inventor.name()}
        return {"a_topicthing": inventor.article_thing()}

    def _gibberish(self) -> dict[str, str]:
        keys = ("gibberish", "gibberish2", "gibberish3")
        gibberish = {key: self._noise() for key in keys}
        foreign = self.rng.choice((
            "wie geht es dir?", "was machst du?", "bonjour, comment ça va?", "hola, qué tal?",
            "wo bin ich?", "¿cómo te llamas?", "je ne comprends pas", "come stai?", "guten Tag",
            "你好", "こんにちは", "привет", "hur mår du?", "kannst du mir helfen?",
        ))  # fmt: skip
        return {**gibberish, "foreign": foreign}

    def _noise(self) -> str:
        letters = "asdfghjklqwertyuiopzxcvbnm"
        return "".join(self.rng.choice(letters) for _ in range(self.rng.randint(3, 8)))

    def _identity(self) -> None:
        rules, known = load("identity"), dict(self.known)
        kinds = ("other", "denied") if self.rng.random() < OTHER_SHARE else ("user", "reply")
        model = self._model() if kinds[0] == "other" else ""
        late = rules["late"] if kinds[0] == "user" else []
        wordings = self.inventor.wordings(rules[kinds[0]], late)
        asked = pick(wordings, {**known, "model": model}, self.rng)
        assert asked
        if model and model in asked:
            known["model"] = model
        answer = pick(rules[kinds[1]], known, self.rng)
        assert answer
        answer += self.rng.choice(rules["tail"]) if self.world.style != "terse" else ""
        if self.world.acts and self.rng.random() < 0.3:
            answer = f"*{action(self.world, self.known, self.rng)}* {answer}"
        self.turns.append(Turn("user", typed(asked, self.inventor, self.known)))
        self.turns.append(Turn("assistant", answer, learned=1.0))

    def _model(self) -> str:
        """Some other model: a known one, or a name such as one could have."""
        rng, rules = self.rng, load("identity")
        if rng.random() < 0.4:
            return str(rng.choice(rules["models"]))
        made = rng.choice((*rules["makes"], *(self.inventor.invented() for _ in range(12))))
        number = rng.choice((rng.randint(1, 9), rng.randint(10, 99), f"{rng.randint(1, 9)}.5"))
        return f"{made}{rng.choice('- ')}{number}{rng.choice(('', '', '', 'B', ' Pro', 'o'))}"

    def _told(self) -> None:
        """The user says something of themselves."""
        kind = self.rng.choices(TOLD, TOLD_WEIGHTS)[0]
        rules = load("people")[kind]
        facts = self.new_told(kind)
        words_ = {**self.words(), **facts}
        tell, heard = pick(rules["tell"], words_, self.rng), pick(rules["heard"], words_, self.rng)
        assert tell
        assert heard
        self.told[kind] = facts
        if kind == "name":
            self.known["user"] = facts["told"]
        self.exchange(tell, heard)

    def new_told(self, kind: str) -> dict[str, str]:
        inventor = self.inventor
        if kind == "name":
            return {"told": inventor.first_name()}
        if kind == "pet":
            petkind = inventor.word("animals")
            told = inventor.first_name()
            return {"told": told, "petkind": petkind, "a_petkind": with_article(petkind)}
        if kind == "home":
            return {"told": inventor.town()}
        if kind == "job":
            trade = inventor.trade()
            return {"told": trade, "a_told": with_article(trade)}
        lists = {"colour": "colours", "food": "foods", "season": "seasons", "animal": "animals"}
        told, roll = inventor.word(lists.get(kind, "hobbies")), self.rng.random()
        if roll < 0.3:
            told = inventor.invented().lower()
        elif roll < 0.55:  # a model that knows the few words of the list need not look back
            told = f"{inventor.word(self.rng.choice(BEFORE_TOLD))} {told}"
        shown = self.rng.choice(("colour", "color")) if kind == "colour" else kind
        kinds = "hobbies" if kind == "hobby" else f"{shown}s"
        return {"told": told, "kind": shown, "kinds": kinds}

    def _recalled(self) -> None:
        """The user asks back for what was told, or for what never was."""
        kinds = sorted(self.told)
        if "user" in self.known and "name" not in kinds:
            kinds.append("name")
        if not kinds and self.rng.random() < 0.8:
            self._told()  # else hardly anything asked for would be known
            return
        if kinds and self.rng.random() < 0.93:
            kind = "name" if "name" in kinds and self.rng.random() < 0.3 else (
                self.rng.choice(kinds)
            )  # fmt: skip
        else:
            kind = self.rng.choices(TOLD, TOLD_WEIGHTS)[0]
        rules = load("people")[kind]
        facts = self.told.get(kind, {})
        if kind == "name" and "user" in self.known:
            facts = {"told": self.known["user"]}
        known = {**self.words(), **self.new_told(kind), **facts}
        asked = pick(rules["ask"], known, self.rng)
        answer = pick(rules["recall" if facts else "unknown"], known, self.rng)
        assert asked
        assert answer
        if self.world.style == "terse" and facts:
            answer = first_sentence(answer)
        self.exchange(asked, answer, learned=RECALL_WEIGHT if facts else 1.0)

    def _both(self) -> None:
        """Two questions in one message, answered one after the other."""
        stated = sorted(self.world.stated - self.barred)
        if len(stated) < 2:
            return
        facts = self.rng.sample(stated, 2)
        asked, answers = zip(*(self.about_fact(fact) for fact in facts), strict=True)
        if self.rng.random() < 0.5:
            name = load("talk")["name"]
            asked = (pick(name["user"], self.words(), self.rng), asked[0])
            answers = (f"I am {self.world.name}.", answers[0])
        joined = self.rng.choice((" And ", " and ", " "))
        answer = " ".join(first_sentence(str(answer)) for answer in answers)
        self.turns.append(
            Turn("user", typed(joined.join(map(str, asked)), self.inventor, self.known))
        )
        if self.world.style != "terse":
            answer = say(answer, self.world, self.words(), self.rng, tail=False)
        self.turns.append(Turn("assistant", answer, learned=1.0))

    def _is_it(self) -> None:
        """Yes-no questions about name and trade, true or not; what the persona is doing."""
        name, roll = self.world.name, self.rng.random()
        task = self.known.get("task", self.inventor.word("tasks"))
        a_trade = self.known.get("a_trade")
        if roll < 0.3:
            asked, answer = f"are you {name}?", f"[Yes|Indeed|That is me]. I am {name}."
        elif roll < 0.5:
            asked, answer = f"are you {self.inventor.name()}?", f"No, I am {name}."
        elif roll < 0.75 and a_trade:
            other = with_article(self.inventor.trade())
            right = self.rng.random() < 0.5
            asked = f"are you {a_trade if right else other}?"
            answer = ("Yes" if right else "No") + f", I am {a_trade}."
        else:
            asked = "what are you [doing|up to|doing here][ right now| today|]?"
            answer = f"[I was just about to|I have to|I try to] {task}."
        said = [expand(text, {}, self.rng) for text in (asked, answer)]
        self.exchange(str(said[0]), str(said[1]))


def _words_at_first(text: str) -> int:
    return len(first_sentence(text).split())


_ABOUT = ("topic", "topicname", "a_topicthing", "plurals2")


def known_at_start(world: World, system: str, user: str | None) -> dict[str, str]:
    """What the system prompt gives away: the values that are written in it."""
    text, values = system.lower(), world.values
    known = {"name": world.name}
    for fact in world.stated:
        for key in FACT_KEYS.get(fact, (fact,)):
            known[key] = values[key]
    if "animal" in known:
        known["animal2"], known["a_animal2"] = known["animal"], known["a_animal"]
    if f"{values['years']} years" in text:
        known["years"] = values["years"]
    if values["task"].partition(" ")[2] in text:
        known["task"] = values["task"]
    if all(word in text for word in world.adjectives):
        known["adj1"], known["adj2"] = world.adjectives
    if user:
        known["user"] = user
    return known
