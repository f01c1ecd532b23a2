/** The style of the page at /docs. */
export const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid #8886; padding-bottom: .3rem; }
section { margin: 2rem 0; }
code, pre { font: .875rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid #8884; border-radius: .4rem; background: #8881; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8883; }
.method { font-weight: 700; display: inline-block; min-width: 4.5rem; }
nav ul { columns: 2; padding-left: 1rem; }
details > summary { cursor: pointer; font-weight: 600; }
`;
