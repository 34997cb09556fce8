// Package arch holds the rules about the code as a whole, as tests: who may import whom, what may end up in a user's
// program, where folders are, how long files are. Each failure names the offender and the rule.
package arch
