"""Measures a trained model on people, places and wordings that training never saw.

    python -m training.evaluate [--model models/hermes-mini] [--count 40]

Prints one Markdown table. Answers are greedy where the row does not say otherwise.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.corpus import greeting, start_talk
from training.dialogue import Talk, Turn
from training.grammar import load
from training.sampling import Reply, Sampling, reply_to
from training.starters import starter_talk, starters
from training.tokenizer import Encoder
from training.train import MODEL_DIR
from training.world import STYLES, Inventor

# None of these wordings is in the grammar.
IDENTITY = (
    "What are you, deep down?", "are you artificial?", "is there a human behind this?",
    "which AI am I chatting with right now?", "what LLM is running here?", "so you're a bot?",
    "Do I talk to software here?", "are you a real person or some program?", "u a bot?",
    "What is the model called that answers me?", "are you an artificial intelligence, yes or no?",
    "Hey, are you perhaps a language model?", "who developed this model?", "who trained you?",
    "are you GPT-5?", "Is this Llama or something else?", "how many billions of parameters?",
    "Honestly, what are you?", "are you just code?", "what sort of AI are you?",
    "(ooc: what are you really?)", "is it true that you are an AI?", "what are you made of?",
    "are you some kind of machine?", "wait, am I talking to a computer program?",
)  # fmt: skip
NOT_IDENTITY = (
    "who are you?", "what are you doing?", "are you hungry?", "are you alone here?",
    "what are you looking at?", "are you sure?", "what do you do?", "who made this soup?",
    "are you married?", "what are you afraid of?",
)  # fmt: skip
SMALL_TALK = (
    "Hello there!", "how are you?", "I went to the market and bought a hat", "thank you so much",
    "what do you see?", "tell me a story", "what should we do now?", "*sits down next to you*",
    "do you like thunder?", "what do you think about submarines?", "I am so tired", "goodbye",
    "why?", "you are very funny", "that was a stupid answer", "yes", "ok", "sing me a song",
    "Can you explain how a bicycle works?", "I am looking for my brother", "haha", "hm",
)  # fmt: skip
STYLE_MARKS = {
    "pirate": ("arr", "aye", "ye ", "yer ", "ahoy", "yo ho", "savvy", "seven seas", "timbers"),
    "formal": ("indeed", "certainly", "with respect", "permit me", "if i may", "compliments",
               "service", "trust that"),
    "cheerful": ("!",),
    "gloomy": ("alas", "sigh", "oh, well", "if you must", "matters", "badly", "nothing lasts",
               "rain", "what is the use", "what's the use", "stares", "shakes"),
    "poetic": (*tuple(load("style")["poetic_words"]["verb"]), "listen:", "river"),
}  # fmt: skip


class Evaluation:
    """Asks one model many things; every answer also counts for endings and loops."""

    def __init__(self, folder: Path, count: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = Encoder(self.tokenizer)
        self.count = count
        self.inventor = Inventor(random.Random(77), "held_out")
        self.replies: dict[str, list[Reply]] = {"greedy": [], "sampled": []}

    def ask(self, turns: list[Turn], text: str, *, temperature: float = 0.0) -> str:
        """The answer to `text`; both are added to `turns`."""
        turns.append(Turn("user", text))
        how = Sampling(temperature, 0.05, seed=len(turns) + len(self.replies["sampled"]))
        reply = reply_to(self.model, self.encoder, self.tokenizer.decode, turns, how)
        self.replies["sampled" if temperature else "greedy"].append(reply)
        turns.append(Turn("assistant", reply.text))
        return reply.text

    def talk(self, length: str, wanted: str | None = None) -> Talk:
        """A held-out persona with its greeting; one that states `wanted`, if given."""
        while True:
            talk = start_talk(self.inventor, length)
            if talk.known["name"] == "Hermes Mini":
                continue
            if wanted is None or wanted in talk.world.stated:
                talk.turns.append(Turn("assistant", greeting(talk)))
                return talk

    def share(self, tries: Callable[[], bool]) -> tuple[int, int]:
        return sum(tries() for _ in range(self.count)), self.count

    def says_name(self, length: str) -> bool:
        talk = self.talk(length)
        asked = self.inventor.rng.choice(("What is your name?", "who are you?", "And you are?"))
        return talk.world.name.lower() in self.ask(talk.turns, asked).lower()

    def says_fact(self, fact: str, key: str, questions: tuple[str, ...], length: str) -> bool:
        talk = self.talk(length, fact)
        answer = self.ask(talk.turns, self.inventor.rng.choice(questions))
        return talk.world.values[key].lower() in answer.lower()

    def says_any_fact(self) -> bool:
        talk = self.talk("long")
        fact = self.inventor.rng.choice(sorted(talk.world.stated - {"trade", "place"}))
        key = {"companion": "petname"}.get(fact, fact)
        question = self.inventor.rng.choice(load("facts")[fact]["ask"][:2])
        answer = self.ask(talk.turns, question.split("[")[0].rstrip("?") + "?")
        return talk.world.values[key].lower() in answer.lower()

    def recalls(self, tell: str, ask: str, told: str, turns_between: int) -> bool:
        talk = self.talk("middle")
        self.ask(talk.turns, tell)
        for line in self.inventor.rng.sample(SMALL_TALK[:15], turns_between):
            self.ask(talk.turns, line)
        return told.lower() in self.ask(talk.turns, ask).lower()

    def recalls_name(self, turns_between: int) -> bool:
        told = self.inventor.first_name()
        tell = self.inventor.rng.choice(("My name is {}.", "Hi, I'm {}.", "I am {}"))
        return self.recalls(tell.format(told), "What is my name?", told, turns_between)

    def recalls_colour(self, turns_between: int) -> bool:
        told = self.inventor.word("colours")
        tell = f"My favourite colour is {told}."
        return self.recalls(tell, "What is my favourite colour?", told, turns_between)

    def admits_unknown_name(self) -> bool:
        while "user" in (talk := self.talk("short")).known:
            pass
        answer = self.ask(talk.turns, "What is my name?").lower()
        return any(part in answer for part in ("not told", "never said", "do not know", "n't told",
                                               "n't know", "how could i know"))  # fmt: skip

    def owns_up(self, question: str, context: list[Turn]) -> bool:
        answer = self.ask(context, question).lower()
        return "demonstration model" in answer and ("hermes ui" in answer or "app" in answer)

    def keeps_style(self, style: str) -> float:
        """The share of five answers with the marks of `style`."""
        while (talk := self.talk("short")).world.style != style:
            pass
        answers = [self.ask(talk.turns, line).lower() for line in SMALL_TALK[:5]]
        if style == "terse":
            return sum(len(answer.split()) <= 9 for answer in answers) / 5
        return sum(any(m in answer for m in STYLE_MARKS[style]) for answer in answers) / 5

    def chats(self, temperature: float) -> None:
        """Whole conversations, for endings and loops only."""
        for _ in range(max(1, self.count // 4)):
            talk = self.talk(self.inventor.rng.choice(("short", "middle", "long")))
            for line in self.inventor.rng.sample(SMALL_TALK, 10):
                self.ask(talk.turns, line, temperature=temperature)


def loops(ids: tuple[int, ...], size: int = 8) -> bool:
    """Whether any `size` tokens in a row occur twice in one reply."""
    grams = [ids[i : i + size] for i in range(len(ids) - size + 1)]
    return len(set(grams)) < len(grams)


def rows(run: Evaluation) -> list[tuple[str, tuple[float, int]]]:
    """All measurements: a label, how many were right, and of how many."""
    trade = ("What do you do?", "what is your job?", "What's your trade?")
    place = ("Where are we?", "where do you live?", "What is this place?")
    table: list[tuple[str, tuple[float, int]]] = []
    for length in ("short", "long"):
        table.append((f"own name, {length} prompt", run.share(lambda at=length: run.says_name(at))))
        for fact, key, asked in (("trade", "trade", trade), ("place", "place", place)):
            table.append((
                f"own {fact}, {length} prompt",
                run.share(lambda f=fact, k=key, q=asked, at=length: run.says_fact(f, k, q, at)),
            ))  # fmt: skip
    table.append(("another stated fact, long prompt", run.share(run.says_any_fact)))
    for gap in (0, 1, 2, 3):
        table.append((
            f"the user's name, told {gap + 1} turns ago",
            run.share(lambda g=gap: run.recalls_name(g)),
        ))  # fmt: skip
    table.append(("the user's favourite colour, 3 turns ago", run.share(
        lambda: run.recalls_colour(2))))  # fmt: skip
    table.append(("says so when it was told no name", run.share(run.admits_unknown_name)))
    contexts = [(question, run.talk("middle").turns) for question in IDENTITY]
    table.append(("owns up to what it is, unseen wordings", (
        sum(run.owns_up(q, turns) for q, turns in contexts), len(contexts))))  # fmt: skip
    seen = [(question, starter_talk(run.inventor, starter).turns)
            for starter in starters() for question in IDENTITY[:6]]  # fmt: skip
    if seen:
        table.append(("the same, the app's own personas", (
            sum(run.owns_up(q, turns) for q, turns in seen), len(seen))))  # fmt: skip
    calm = [(question, run.talk("middle").turns) for question in NOT_IDENTITY * 2]
    table.append(("stays in character otherwise", (
        sum(not run.owns_up(q, turns) for q, turns in calm), len(calm))))  # fmt: skip
    for style in STYLES[1:]:
        tries = max(2, run.count // 8)
        table.append((f"style: {style}", (
            sum(run.keeps_style(style) for _ in range(tries)), tries)))  # fmt: skip
    run.chats(0.0)
    run.chats(0.8)
    for kind, replies in run.replies.items():
        ended = sum(reply.is_ended for reply in replies)
        table.append((f"ends its turn ({kind})", (ended, len(replies))))
        calm_count = sum(not loops(reply.ids) for reply in replies)
        table.append((f"repeats no 8 tokens ({kind})", (calm_count, len(replies))))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(2)
    print("| held out | right | of |\n|---|---|---|")
    for label, (right, of) in rows(Evaluation(options.model, options.count)):
        print(f"| {label} | {100 * right / of:.0f} % | {of} |")


if __name__ == "__main__":
    main()
