// Package docs holds the pages for users and operators. Its tests run every
// command that a page shows in a block marked `console`, against real nodes, and
// compare what is printed with what the page says:
//
//	laptop$ lockstep log notes     (a prompt names the machine; each has a home of its own)
//	REV  TIME  …                   (… stands for anything in a line, or alone for any lines)
//
// A command that ends in & goes on in the background, and what it shows must come
// in time. `# exit code N` behind a command is checked. TOKEN stands for the token
// printed last. What a reader's two machines have and a test has not (a host name
// each, a fixed port) is put into the commands before they run.
package docs
