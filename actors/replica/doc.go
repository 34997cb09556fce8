// Package replica hosts replicated entities on this node: a copy of each that is in use, which takes writes here, hears of
// those of other nodes, and is kept in the journal's cells; and the streams of the user functions that work with them.
package replica
