// JupyterLab leaves out the alternative text that a notebook stores with a picture, and a slider's
// name. This small extension adds both. By hand, in the form that webpack gives to an extension.

const MIME_TYPES = ["image/png", "image/jpeg", "image/gif"];
let shared; // the packages that JupyterLab shares with extensions, by name and version

/** Render pictures as JupyterLab does, and say what they show. */
function describePictures(rendermime) {
  const factory = rendermime.getFactory("image/png");
  const createRenderer = options => {
    const renderer = factory.createRenderer(options);
    const render = renderer.render.bind(renderer);
    renderer.render = async model => {
      await render(model);
      const { alt } = model.metadata[options.mimeType] ?? {};
      if (alt) renderer.node.querySelector("img").alt = alt;
    };
    return renderer;
  };
  rendermime.addFactory({ ...factory, mimeTypes: MIME_TYPES, createRenderer }, factory.defaultRank);
}

/** Give the handle of each slider the name that stands beside it. */
function nameSliders() {
  for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])")) {
    const name = handle.closest(".widget-slider").querySelector("label").textContent;
    handle.setAttribute("aria-label", name);
  }
}

/** The plugin, or none where JupyterLab is built otherwise: it must start in any case. */
async function plugins() {
  try {
    const [version] = Object.values(shared["@jupyterlab/rendermime"]);
    const { IRenderMimeRegistry } = (await version.get())();
    const activate = (_, rendermime) => {
      describePictures(rendermime);
      new MutationObserver(nameSliders).observe(document.body, { childList: true, subtree: true });
    };
    return [{ id: "aigc-alt:plugin", autoStart: true, requires: [IRenderMimeRegistry], activate }];
  } catch (error) {
    console.warn("aigc-alt:", error);
    return [];
  }
}

(window._JUPYTERLAB ??= {})["aigc-alt"] = {
  init: packages => { shared = packages; },
  get: async () => {
    const found = await plugins();
    return () => found;
  }
};
