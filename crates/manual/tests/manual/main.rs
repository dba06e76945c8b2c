//! What a package installs of the manual, read by the programs that will read it. Needs Debian's
//! packages groff-base, mandoc, zsh and fish; a test fails where one is missing.

#[cfg(test)]
mod completions; // the shells'
#[cfg(test)]
mod pages; // the man pages
#[cfg(test)]
mod written; // the files as they are written, and who reads them
