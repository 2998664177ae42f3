// Draws every element with the attribute data-chart from the JSON that its URL gives, and opens what is tapped.
"use strict";

async function draw(place) {
  try {
    const answer = await fetch(place.dataset.chart, {headers: {Accept: "application/json"}});
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const item = await answer.json();
    place.textContent = "";
    const view = await Bokeh.embed.embed_item(item, place.id);
    const model = view.model ?? [...view][0].model;
    for (const source of model.document.roots().flatMap((root) => [...root.references()])) {
      if (source.name === "linked" && source.selected) {
        source.selected.change.connect(() => {
          const [first] = source.selected.indices;
          if (first !== undefined) location.assign(document.body.dataset.root + "/" + source.get_column("href")[first]);
        });
      }
    }
    place.dataset.drawn = "true";
  } catch (error) {
    place.textContent = `The chart cannot be drawn (${error.message}).`;
  }
}

document.querySelectorAll("[data-chart]").forEach(draw);
