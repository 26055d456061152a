// Package redfish speaks Redfish to management controllers.
package redfish

import _ "github.com/stmcginnis/gofish"
