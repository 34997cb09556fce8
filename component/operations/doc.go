// Package operations is what an operator does to a journal: look at what is in it, take it out and bring it in, and erase
// an entity. It does so through the small interface Journal, of which there are two: one has the journal open (Of), the
// other one asks a component that has it (Dial), whose admin address serves it (Handler).
//
//	Export ─► lines ─► Import        one file, or a pipe between two journals
//	State, History, Tail             for people, and for programs
//
// The format of the lines is documented in docs/export-format.md; form.go holds the fields, line.go the checksums.
package operations
