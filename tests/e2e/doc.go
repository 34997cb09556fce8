// Package e2e tests the component with real daprds, real placement and real user functions, from the outside: what a
// Dapr application sees.
package e2e
