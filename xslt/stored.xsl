<?xml version="1.0" encoding="UTF-8"?>
<!--
  From what people write to what libvirt stores.

  Every <interface type='physical'> in the devices of a <domain> or <inactiveDomain>, at any depth, becomes
  a legal <interface type='ethernet'> with an unmanaged target; the request travels in that domain's
  metadata. Interfaces that are stored already are put right again: a target that another tool dropped is
  made anew, a request whose interface is gone is dropped. Everything else is copied.

  XSLT 1.0 without extensions:   xsltproc -stringparam macs '52:54:00:12:34:56' stored.xsl guest.xml

  Parameters:
    macs   MAC addresses, separated by blanks, for the interfaces that have none, in document order. Where
           it runs out, 52:54:00:76:70:NN with NN the interface's number: give addresses of your own
           wherever more than one guest is to be on a network.
    part   for a document that is a single <interface> (hotplug), which has no metadata: 'interface' gives
           the interface (the default), 'request' gives the metadata element.
-->
<xsl:stylesheet version="1.0"
    xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:physical="urn:libvirt-vepa:physical:1"
    exclude-result-prefixes="physical">

  <xsl:output method="xml" encoding="UTF-8"/>
  <xsl:param name="macs" select="''"/>
  <xsl:param name="part" select="'interface'"/>

  <xsl:variable name="upper" select="'ABCDEF'"/>
  <xsl:variable name="lower" select="'abcdef'"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <!-- A single interface: one of its two parts. -->

  <xsl:template match="/interface[@type = 'physical']" priority="2">
    <xsl:choose>
      <xsl:when test="$part = 'request'">
        <physical:interfaces><xsl:apply-templates select="." mode="request"/></physical:interfaces>
      </xsl:when>
      <xsl:otherwise><xsl:apply-templates select="." mode="interface"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A domain: libvirt writes the metadata after these six. -->

  <xsl:template match="domain | inactiveDomain">
    <xsl:variable name="head" select="(name | uuid | genid | title | description | hwuuid)[last()]"/>
    <xsl:variable name="new" select="devices/interface[@type = 'physical'] and not(metadata)"/>
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <xsl:if test="$new and not($head)"><xsl:call-template name="metadata"/></xsl:if>
      <xsl:for-each select="node()">
        <xsl:apply-templates select="."/>
        <xsl:if test="$new and count(. | $head) = count($head)">
          <xsl:for-each select=".."><xsl:call-template name="metadata"/></xsl:for-each>
        </xsl:if>
      </xsl:for-each>
    </xsl:copy>
  </xsl:template>

  <xsl:template name="metadata">
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:value-of select="$indent"/>
    <metadata>
      <xsl:if test="$indent"><xsl:value-of select="concat($indent, '  ')"/></xsl:if>
      <xsl:call-template name="requests"><xsl:with-param name="indent" select="concat($indent, '  ')"/></xsl:call-template>
      <xsl:value-of select="$indent"/>
    </metadata>
  </xsl:template>

  <xsl:template match="domain/metadata | inactiveDomain/metadata">
    <xsl:variable name="ours" select="../devices/interface[@type = 'physical'] or
        ../devices/interface/alias/@name = physical:interfaces/physical:interface/@alias"/>
    <xsl:variable name="others" select="*[not(self::physical:interfaces)] | comment() | processing-instruction()"/>
    <xsl:choose>
      <!-- What was only ours and is needed no more goes as a whole. -->
      <xsl:when test="not($ours) and physical:interfaces and not($others)"/>
      <xsl:otherwise>
        <xsl:copy>
          <xsl:apply-templates select="@* | node()"/>
          <xsl:if test="$ours and not(physical:interfaces)">
            <xsl:for-each select="..">
              <xsl:call-template name="requests">
                <xsl:with-param name="indent" select="concat(text()[normalize-space() = '' and contains(., '&#10;')][1], '  ')"/>
              </xsl:call-template>
              <xsl:value-of select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
            </xsl:for-each>
          </xsl:if>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="domain/metadata/physical:interfaces | inactiveDomain/metadata/physical:interfaces">
    <xsl:if test="../../devices/interface[@type = 'physical'] or
        ../../devices/interface/alias/@name = physical:interface/@alias">
      <xsl:for-each select="../..">
        <xsl:call-template name="requests">
          <xsl:with-param name="indent" select="concat(text()[normalize-space() = '' and contains(., '&#10;')][1], '  ')"/>
        </xsl:call-template>
      </xsl:for-each>
    </xsl:if>
  </xsl:template>

  <!-- The wrapper, with one request for each of this domain's interfaces that has one. -->
  <xsl:template name="requests">
    <xsl:param name="indent"/>
    <xsl:variable name="kept" select="metadata/physical:interfaces/physical:interface"/>
    <physical:interfaces>
      <xsl:for-each select="devices/interface[@type = 'physical' or alias/@name = $kept/@alias]">
        <xsl:if test="normalize-space($indent) = '' and contains($indent, '&#10;')">
          <xsl:value-of select="concat($indent, '  ')"/>
        </xsl:if>
        <xsl:choose>
          <xsl:when test="@type = 'physical'"><xsl:apply-templates select="." mode="request"/></xsl:when>
          <xsl:otherwise><xsl:apply-templates select="$kept[@alias = current()/alias/@name][1]"/></xsl:otherwise>
        </xsl:choose>
      </xsl:for-each>
      <xsl:if test="contains($indent, '&#10;')"><xsl:value-of select="$indent"/></xsl:if>
    </physical:interfaces>
  </xsl:template>

  <xsl:template match="interface" mode="request">
    <physical:interface>
      <xsl:attribute name="alias"><xsl:call-template name="alias"/></xsl:attribute>
      <xsl:attribute name="name"><xsl:value-of select="normalize-space(name)"/></xsl:attribute>
      <xsl:attribute name="type">
        <xsl:choose>
          <xsl:when test="type"><xsl:value-of select="normalize-space(type)"/></xsl:when>
          <xsl:otherwise>macvtap</xsl:otherwise>
        </xsl:choose>
      </xsl:attribute>
      <xsl:if test="target/@mode">
        <xsl:attribute name="mode">
          <xsl:choose>
            <xsl:when test="target/@mode = 'veb'">bridge</xsl:when>
            <xsl:when test="target/@mode = 'private'">pepa</xsl:when>
            <xsl:otherwise><xsl:value-of select="target/@mode"/></xsl:otherwise>
          </xsl:choose>
        </xsl:attribute>
      </xsl:if>
    </physical:interface>
  </xsl:template>

  <!-- An interface in the proposed form. -->

  <xsl:template match="domain/devices/interface[@type = 'physical'] | inactiveDomain/devices/interface[@type = 'physical']">
    <xsl:apply-templates select="." mode="interface"/>
  </xsl:template>

  <xsl:template match="interface" mode="interface">
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:variable name="content" select="*[not(self::name or self::type)]"/>
    <interface type="ethernet">
      <xsl:apply-templates select="@*[name() != 'type']"/>
      <xsl:if test="not(mac)">
        <xsl:value-of select="$indent"/>
        <xsl:call-template name="mac-element"/>
      </xsl:if>
      <xsl:if test="not(mac) and not(target)">
        <xsl:value-of select="$indent"/>
        <xsl:call-template name="target"/>
      </xsl:if>
      <xsl:apply-templates select="node()" mode="content"/>
      <xsl:if test="not(alias)">
        <!-- Indented as the last child is; what closes the interface follows it. -->
        <xsl:if test="$indent"><xsl:text>  </xsl:text></xsl:if>
        <alias><xsl:attribute name="name"><xsl:call-template name="alias"/></xsl:attribute></alias>
        <xsl:value-of select="text()[last()][normalize-space() = '' and not(following-sibling::*)]"/>
      </xsl:if>
    </interface>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:apply-templates select="."/></xsl:template>
  <!-- The name and type are in the request now, and the blanks before them are of no use; a remark in the
       proposal's manner is none of the interface's content. -->
  <xsl:template match="name | type" mode="content"/>
  <xsl:template match="text()[following-sibling::node()[1][self::name or self::type]]" mode="content" priority="2"/>
  <xsl:template match="text()[starts-with(normalize-space(), '//')]" mode="content" priority="1">
    <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
  </xsl:template>
  <xsl:template match="mac" mode="content">
    <xsl:call-template name="mac-element"/>
    <xsl:if test="not(../target)">
      <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
      <xsl:call-template name="target"/>
    </xsl:if>
  </xsl:template>
  <xsl:template match="target" mode="content"><xsl:call-template name="target"/></xsl:template>

  <!-- An interface that is stored already: its target is made right. -->

  <xsl:template match="domain/devices/interface[@type = 'ethernet'] | inactiveDomain/devices/interface[@type = 'ethernet']">
    <xsl:variable name="ours" select="alias/@name = ../../metadata/physical:interfaces/physical:interface/@alias"/>
    <xsl:copy>
      <xsl:apply-templates select="@*"/>
      <xsl:choose>
        <xsl:when test="$ours and (not(target/@dev) or not(target/@managed = 'no'))">
          <xsl:apply-templates select="node()" mode="content"/>
        </xsl:when>
        <xsl:otherwise><xsl:apply-templates select="node()"/></xsl:otherwise>
      </xsl:choose>
    </xsl:copy>
  </xsl:template>

  <!-- What is derived, for the interface that is the current node or the parent of it. -->

  <xsl:template name="target">
    <xsl:variable name="interface" select="ancestor-or-self::interface[1]"/>
    <target>
      <xsl:attribute name="dev">
        <xsl:choose>
          <xsl:when test="$interface/target/@dev"><xsl:value-of select="$interface/target/@dev"/></xsl:when>
          <xsl:otherwise>
            <xsl:variable name="mac"><xsl:call-template name="mac"/></xsl:variable>
            <xsl:value-of select="concat('vp', translate($mac, ':', ''))"/>
          </xsl:otherwise>
        </xsl:choose>
      </xsl:attribute>
      <xsl:attribute name="managed">no</xsl:attribute>
    </target>
  </xsl:template>

  <xsl:template name="alias">
    <xsl:variable name="interface" select="ancestor-or-self::interface[1]"/>
    <xsl:choose>
      <xsl:when test="$interface/alias/@name"><xsl:value-of select="$interface/alias/@name"/></xsl:when>
      <xsl:otherwise>
        <xsl:variable name="mac"><xsl:call-template name="mac"/></xsl:variable>
        <xsl:value-of select="concat('ua-physical-', translate($mac, ':', ''))"/>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="mac-element">
    <mac>
      <xsl:attribute name="address"><xsl:call-template name="mac"/></xsl:attribute>
      <xsl:apply-templates select="ancestor-or-self::interface[1]/mac/@*[name() != 'address']"/>
    </mac>
  </xsl:template>

  <xsl:template name="mac">
    <xsl:variable name="interface" select="ancestor-or-self::interface[1]"/>
    <xsl:choose>
      <xsl:when test="$interface/mac/@address">
        <xsl:call-template name="pairs"><xsl:with-param name="rest" select="$interface/mac/@address"/></xsl:call-template>
      </xsl:when>
      <xsl:otherwise>
        <xsl:variable name="number" select="count($interface/preceding::interface[@type = 'physical'][not(mac)])"/>
        <xsl:variable name="given">
          <xsl:call-template name="word">
            <xsl:with-param name="words" select="normalize-space($macs)"/>
            <xsl:with-param name="number" select="$number"/>
          </xsl:call-template>
        </xsl:variable>
        <xsl:choose>
          <xsl:when test="string($given)">
            <xsl:call-template name="pairs"><xsl:with-param name="rest" select="string($given)"/></xsl:call-template>
          </xsl:when>
          <xsl:otherwise>
            <xsl:variable name="digits" select="'0123456789abcdef'"/>
            <xsl:value-of select="concat('52:54:00:76:70:',
                substring($digits, floor($number div 16) mod 16 + 1, 1), substring($digits, $number mod 16 + 1, 1))"/>
          </xsl:otherwise>
        </xsl:choose>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A MAC as libvirt reads it (one or two digits between colons) as six lower-case pairs. -->
  <xsl:template name="pairs">
    <xsl:param name="rest"/>
    <xsl:variable name="pair" select="substring-before(concat($rest, ':'), ':')"/>
    <xsl:if test="string-length($pair) = 1">0</xsl:if>
    <xsl:value-of select="translate($pair, $upper, $lower)"/>
    <xsl:if test="contains($rest, ':')">
      <xsl:text>:</xsl:text>
      <xsl:call-template name="pairs"><xsl:with-param name="rest" select="substring-after($rest, ':')"/></xsl:call-template>
    </xsl:if>
  </xsl:template>

  <!-- The word with that number (from 0) of a list, or nothing. -->
  <xsl:template name="word">
    <xsl:param name="words"/>
    <xsl:param name="number"/>
    <xsl:choose>
      <xsl:when test="$number = 0"><xsl:value-of select="substring-before(concat($words, ' '), ' ')"/></xsl:when>
      <xsl:when test="contains($words, ' ')">
        <xsl:call-template name="word">
          <xsl:with-param name="words" select="substring-after($words, ' ')"/>
          <xsl:with-param name="number" select="$number - 1"/>
        </xsl:call-template>
      </xsl:when>
    </xsl:choose>
  </xsl:template>
</xsl:stylesheet>
