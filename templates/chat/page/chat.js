"use strict";

const state = document.getElementById("state");
const said = document.getElementById("said");
const text = document.getElementById("text");

const events = new EventSource("/events");
events.onopen = () => {
  said.replaceChildren(); // the stream begins with what was said before
  state.textContent = "connected";
};
events.onerror = () => {
  state.textContent = "not connected; trying again";
};
events.onmessage = (event) => {
  const line = document.createElement("li");
  line.textContent = event.data; // a stranger's words are text, never markup
  said.append(line);
  line.scrollIntoView();
};

document.getElementById("form").onsubmit = async (event) => {
  event.preventDefault();
  const name = document.getElementById("name").value;
  const answer = await fetch("/say", { method: "POST", body: `${name}: ${text.value}` });
  if (answer.ok) {
    text.value = "";
  } else {
    state.textContent = await answer.text();
  }
};
