// Package statestores runs the journal in a Dapr state store against real ones, behind a real daprd.
package statestores
