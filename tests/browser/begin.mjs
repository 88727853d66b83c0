// Before the first test: what is in artefacts/ afterwards is of this run.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export default () => rmSync(fileURLToPath(new URL('artefacts/', import.meta.url)), { recursive: true, force: true });
