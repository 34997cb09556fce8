// Package node keeps this node's copies of replicated entities: it applies what is written here, tells the other members,
// takes in what they tell, asks for what was lost on the way, and keeps all of it in the journal's cells. It knows nothing of
// user functions.
package node
