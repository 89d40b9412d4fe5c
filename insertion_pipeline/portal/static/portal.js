// Comfort only: everything works without it. Drag a file in, see it leave, paste cells where the cursor is.
"use strict";
(() => {
  const drop = document.querySelector("[data-drop]");
  if (drop) {
    const input = drop.querySelector("input[type=file]");
    const over = (event) => { event.preventDefault(); drop.classList.add("over-it"); };
    drop.addEventListener("dragover", over);
    drop.addEventListener("dragleave", () => drop.classList.remove("over-it"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over-it");
      if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
    });
  }

  const form = document.querySelector("form[data-deposit]");
  if (form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const panel = form.querySelector("[data-progress]");
      const bar = panel.querySelector("progress");
      const text = panel.querySelector("[data-progress-text]");
      const body = new FormData(form);
      if (event.submitter && event.submitter.name) body.append(event.submitter.name, event.submitter.value);
      const buttons = form.querySelectorAll("button");
      buttons.forEach((button) => { button.disabled = true; });
      panel.hidden = false;
      const request = new XMLHttpRequest();
      request.upload.addEventListener("progress", (step) => {
        if (step.lengthComputable) bar.value = Math.round((100 * step.loaded) / step.total);
        if (bar.value >= 100) { bar.removeAttribute("value"); text.textContent = panel.dataset.received; }
      });
      request.addEventListener("load", () => {
        if (request.responseURL && !request.responseURL.endsWith("/deposer")) { window.location.assign(request.responseURL); return; }
        const page = new DOMParser().parseFromString(request.responseText, "text/html");
        document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
        document.querySelector("main").focus();
      });
      request.addEventListener("error", () => {
        buttons.forEach((button) => { button.disabled = false; });
        bar.hidden = true;
        text.textContent = panel.dataset.cut;
      });
      request.open("POST", form.getAttribute("action")); // `form.action` is the button of that name
      request.send(body);
    });
  }

  const grid = document.querySelector("form[data-grid]");
  if (grid) {
    grid.addEventListener("paste", (event) => {
      const start = event.target;
      const text = event.clipboardData.getData("text/plain");
      if (start.tagName !== "INPUT" || !/[\t\n]/.test(text.trim())) return;
      event.preventDefault();
      const rows = [...start.closest("tbody").rows];
      const first = rows.indexOf(start.closest("tr"));
      const column = [...start.closest("tr").querySelectorAll("input")].indexOf(start);
      text.replace(/\r?\n$/, "").split(/\r?\n/).forEach((line, down) => {
        const inputs = rows[first + down] ? rows[first + down].querySelectorAll("input") : [];
        line.split("\t").forEach((cell, right) => { if (inputs[column + right]) inputs[column + right].value = cell.trim(); });
      });
    });
  }
})();
