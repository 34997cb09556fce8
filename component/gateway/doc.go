// Package gateway is the way in for everybody who speaks neither Dapr nor the binding: one port without TLS that serves
// what the catalog describes.
//
//	gRPC        HTTP/2, content type application/grpc: /<service>/<method> of every protobuf service, grpc.health.v1 and
//	            server reflection
//	gRPC-Web    binary and text, over HTTP/1.1 and HTTP/2, with CORS for the origins that are configured
//	HTTP/JSON   the google.api.http rules of every protobuf method, or POST /<service>/<method> for one without
//	REST        POST /entities/<service>/<id>/<command>, POST /entities/<service>/<command> for actions,
//	            GET /entities/<service>/<id>/outcomes/<key>, GET /openapi.json
//
// Rules of the user function come before paths of our own: who declares GET /openapi.json gets it.
//
// # One port
//
// A connection that does not begin with the preface of HTTP/2 goes to net/http. One that does is held until its first
// request shows what it is for: gRPC connections go to a native gRPC server, which is several times as fast as gRPC on
// net/http, and the others go to net/http. Clients may wait for the server's settings before they send a request, so a
// SETTINGS frame goes out at once; whoever takes the connection over sends its own after that, and the one
// acknowledgement too many is taken out. A connection that began without gRPC may carry it later: net/http hands such
// requests to a gRPC server of their own.
package gateway
